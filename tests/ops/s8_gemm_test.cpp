// Every int8 product, at every instruction-set level of this machine and on its GPU, against the
// reference.
#include "ops/s8_gemm.h"

#include <gtest/gtest.h>

#include <cmath>

#include "ops/each_implementation.h"
#include "ops/s8_gemm_cases.h"

namespace intaglio {
namespace {

using testing::expect_same_output;
using testing::make_s8_case;
using testing::run_s8_case;
using testing::S8Case;
using testing::S8Output;

// fn(implementation, context) for those that take `desc`, on every device: with one thread and
// with three on a processor.
template <typename Fn>
void for_each_implementation(const S8GemmDesc& desc, Fn&& fn) {
  test::each_device([&](const Context& context, const std::string& device) {
    // A GPU has int8 rows of whole vectors only; a linear of others is one of bf16 there.
    const int at_least = context.gpu != nullptr && desc.k % 16 != 0 ? 0 : 1;
    test::each_taker(s8_gemm_implementations(), desc, context, device, at_least,
                     [&](const S8GemmImplementation& implementation, Context at) {
                       for (const int threads : {1, 3}) {
                         if (at.gpu != nullptr && threads > 1) continue;
                         at.threads = threads;
                         SCOPED_TRACE(fmt::format("threads {}", threads));
                         fn(implementation, at);
                       }
                     });
  });
}

S8Output run_implementation(const S8GemmImplementation& implementation, const S8Case& c,
                            const S8GemmDesc& desc, const Context& context, bool with_bias) {
  auto packed = AlignedBuffer::allocate(implementation.packed_bytes(c.n, c.k));
  EXPECT_TRUE(packed.has_value());
  std::memset(packed->data(), 0x33, packed->size());
  implementation.pack(c.w.data(), c.n, c.k, packed->data());
  return run_s8_case(c, desc, context, {packed->as<std::byte>(), packed->size()},
                     implementation.scratch_bytes(desc, context), with_bias, implementation.run);
}

void compare_with_reference(const S8Case& c, GemmEpilogue epilogue) {
  const auto list = s8_gemm_implementations();
  for (DType out : {DType::kI32, DType::kF32, DType::kBF16}) {
    for (bool with_bias : {false, true}) {
      const S8GemmDesc desc{c.m, c.n, c.k, epilogue, out};
      const S8Output expected = run_implementation(list.back(), c, desc, Context{}, with_bias);
      SCOPED_TRACE(
          fmt::format("{}x{}x{} out {} bias {}", c.m, c.n, c.k, dtype_name(out), with_bias));
      for_each_implementation(
          desc, [&](const S8GemmImplementation& implementation, const Context& context) {
            expect_same_output(
                desc, run_implementation(implementation, c, desc, context, with_bias), expected);
          });
    }
  }
}

TEST(S8Gemm, RaggedShapesAgreeWithTheReference) {
  for (int64_t m : {1, 2, 3, 4, 5, 13, 14, 15, 17, 33, 65}) {
    for (int64_t k : {1, 15, 16, 17, 48, 63, 64, 65, 100, 208})
      compare_with_reference(make_s8_case(m, 1 + (m * 31 + k * 7) % 100, k), GemmEpilogue::kNone);
  }
  for (int64_t n : {1, 15, 16, 17, 31, 32, 33, 63, 65, 100})
    for (int64_t k : {68, 80}) compare_with_reference(make_s8_case(7, n, k), GemmEpilogue::kNone);
}

TEST(S8Gemm, RowStrideLargerThanK) {
  compare_with_reference(make_s8_case(20, 40, 64, 13), GemmEpilogue::kNone);
}

TEST(S8Gemm, SeveralRowAndDepthBlocks) {
  compare_with_reference(make_s8_case(150, 96, 9008), GemmEpilogue::kNone);
  compare_with_reference(make_s8_case(300, 64, 4104), GemmEpilogue::kNone);
  compare_with_reference(make_s8_case(30, 600, 9301), GemmEpilogue::kNone);
}

TEST(S8Gemm, EveryEpilogueAgreesWithTheReference) {
  for (const GemmEpilogue epilogue : kGemmEpilogues) {
    SCOPED_TRACE(epilogue_name(epilogue));
    compare_with_reference(make_s8_case(1, 32, 384), epilogue);
    compare_with_reference(make_s8_case(33, is_gated(epilogue) ? 96 : 91, 100), epilogue);
    compare_with_reference(make_s8_case(33, is_gated(epilogue) ? 96 : 91, 112), epilogue);
    S8Case c = make_s8_case(40, 64, 64);
    for (size_t r = 4; r < c.a_scale.size(); ++r)
      c.a_scale[r] *= 100.0f;  // far into both tails of the exponential
    compare_with_reference(c, epilogue);
  }
}

// Subnormal results, alone and next to normal ones, infinite and NaN ones.
TEST(S8Gemm, ScalesAtTheEndsOfTheFloatRange) {
  S8Case c = make_s8_case(20, 70, 64);
  const float scales[] = {1e-42f, 1e-38f, 1e-36f, 1.0f, 1e38f, std::nanf("")};
  for (size_t r = 0; r < c.a_scale.size(); ++r) c.a_scale[r] = scales[r % std::size(scales)];
  for (size_t j = 0; j < c.w_scale.size(); ++j) c.w_scale[j] = j % 5 == 0 ? 1e-3f : 1.0f;
  std::fill(c.bias.begin(), c.bias.end(), 0.0f);
  compare_with_reference(c, GemmEpilogue::kNone);
}

// Odd sums from 255 to 507 whose bf16 lies halfway, and NaNs that a carry out of their low bits
// would turn into a zero.
TEST(S8Gemm, Bf16OutputsAreRoundedToEven) {
  S8Case c = make_s8_case(6, 127, 16);
  std::fill(c.a.begin(), c.a.end(), int8_t{1});
  std::fill(c.a_scale.begin(), c.a_scale.end(), 1.0f);
  std::fill(c.w_scale.begin(), c.w_scale.end(), 1.0f);
  std::fill(c.bias.begin(), c.bias.end(), 0.0f);
  std::fill(c.w.begin(), c.w.end(), int8_t{0});
  for (size_t j = 0; j < static_cast<size_t>(c.n); ++j) {
    std::fill_n(c.w.begin() + static_cast<ptrdiff_t>(16 * j), 3, int8_t{127});
    c.w[16 * j + 3] = static_cast<int8_t>(static_cast<int>(2 * j) - 126);
  }
  c.a_scale[1] = -1.0f;
  c.a_scale[2] = std::bit_cast<float>(0x7fffffffu);
  c.a_scale[3] = std::bit_cast<float>(0xffffffffu);
  compare_with_reference(c, GemmEpilogue::kNone);
  const S8GemmDesc desc{c.m, c.n, c.k, GemmEpilogue::kNone, DType::kBF16};
  const S8Output out =
      run_implementation(s8_gemm_implementations().back(), c, desc, Context{}, false);
  const float rounded[] = {255.0f, 256.0f, 260.0f, 260.0f, 264.0f};
  for (int64_t j = 0; j < 5; ++j) EXPECT_EQ(static_cast<float>(out.at<BFloat16>(0, j)), rounded[j]);
  for (int64_t r : {2, 3}) EXPECT_EQ(out.at<uint16_t>(r, 5) & 0x7fc0, 0x7fc0);
}

TEST(S8Gemm, LongestSumsAreExact) {
  S8Case c = make_s8_case(5, 33, 53248);
  compare_with_reference(c, GemmEpilogue::kNone);
  // Every product at its largest: 53248 * 2^14 is close to 2^30.
  std::fill(c.a.begin(), c.a.end(), int8_t{-128});
  std::fill(c.w.begin(), c.w.end(), int8_t{-128});
  const S8GemmDesc desc{c.m, c.n, c.k, GemmEpilogue::kNone, DType::kI32};
  for_each_implementation(
      desc, [&](const S8GemmImplementation& implementation, const Context& context) {
        const S8Output out = run_implementation(implementation, c, desc, context, false);
        for (int64_t r = 0; r < c.m; ++r) {
          for (int64_t j = 0; j < c.n; ++j) ASSERT_EQ(out.at<int32_t>(r, j), 53248 * 16384);
        }
      });
}

// A hand-worked product, so that the reference itself has an anchor.
TEST(S8Gemm, SmallProductByHand) {
  S8Case c{.m = 2,
           .n = 2,
           .k = 3,
           .lda = 3,
           .a = {1, -2, 3, -128, 127, 0},
           .w = {4, 5, 6, -128, -128, 127},
           .a_scale = {0.5f, 2.0f},
           .w_scale = {1.0f, 0.25f},
           .bias = {10.0f, -1.0f}};
  const S8GemmDesc desc{2, 2, 3, GemmEpilogue::kNone, DType::kF32};
  for_each_implementation(
      desc, [&](const S8GemmImplementation& implementation, const Context& context) {
        const S8Output out = run_implementation(implementation, c, desc, context, true);
        EXPECT_EQ(out.at<float>(0, 0), 12 * 0.5f + 10);    // 4 - 10 + 18
        EXPECT_EQ(out.at<float>(0, 1), 509 * 0.125f - 1);  // -128 + 256 + 381
        EXPECT_EQ(out.at<float>(1, 0), 123 * 2.0f + 10);   // -512 + 635
        EXPECT_EQ(out.at<float>(1, 1), 128 * 0.5f - 1);    // 16384 - 16256
      });
}

TEST(S8Gemm, UnpackGivesBackTheWeights) {
  for (const auto& implementation : s8_gemm_implementations()) {
    for (int64_t n : {1, 31, 33, 100}) {
      for (int64_t k : {1, 3, 63, 64, 65, 130}) {
        const S8Case c = make_s8_case(1, n, k);
        auto packed = AlignedBuffer::allocate(implementation.packed_bytes(n, k));
        ASSERT_TRUE(packed.has_value());
        implementation.pack(c.w.data(), n, k, packed->data());
        std::vector<int8_t> rows(c.w.size());
        implementation.unpack_rows(packed->data(), n, k, 0, n, rows.data());
        EXPECT_EQ(rows, c.w) << implementation.name << " " << n << "x" << k;
        std::vector<int8_t> last(static_cast<size_t>(k));
        implementation.unpack_rows(packed->data(), n, k, n - 1, 1, last.data());
        EXPECT_TRUE(std::equal(last.begin(), last.end(), c.w.end() - k));
      }
    }
  }
}

TEST(S8Gemm, RefusesWhatItCannotServe) {
  const S8GemmDesc good{2, 32, 16, GemmEpilogue::kNone, DType::kF32};
  for_each_implementation(
      good, [&](const S8GemmImplementation& implementation, const Context& context) {
        for (auto change : {+[](S8GemmDesc& d) { d.m = 0; }, +[](S8GemmDesc& d) { d.n = -1; },
                            +[](S8GemmDesc& d) { d.k = 130016; },
                            +[](S8GemmDesc& d) { d.out_dtype = DType::kF16; },
                            +[](S8GemmDesc& d) { d.n = 48, d.epilogue = GemmEpilogue::kSwiglu; }}) {
          S8GemmDesc desc = good;
          change(desc);
          EXPECT_NE(implementation.can_run(desc, context), nullptr);
        }
        std::vector<int8_t> bytes(1024);
        std::vector<float> floats(1024);
        const S8GemmArgs args{.a = bytes.data(),
                              .lda = 16,
                              .a_scale_row = floats.data(),
                              .w_packed = bytes.data(),
                              .w_scale_col = floats.data(),
                              .bias = nullptr,
                              .out = floats.data(),
                              .ldo = 32};
        S8GemmArgs bad = args;
        bad.lda = 15;
        EXPECT_FALSE(implementation.run(context, good, bad));
        bad = args;
        bad.ldo = 31;
        EXPECT_FALSE(implementation.run(context, good, bad));
        bad = args;
        bad.w_scale_col = nullptr;
        EXPECT_FALSE(implementation.run(context, good, bad));
      });
}

TEST(S8Gemm, ChoiceFollowsTheLevel) {
  const S8GemmDesc desc{16, 64, 64, GemmEpilogue::kNone, DType::kF32};
  const std::pair<CpuIsa, std::string> expected[] = {{CpuIsa::kRef, "ref_s8_gemm"},
                                                     {CpuIsa::kAvx2, "avx2_s8_gemm"},
                                                     {CpuIsa::kAvx512Vnni, "avx512vnni_s8_gemm"},
                                                     {CpuIsa::kAmx, "amx_s8_gemm"}};
  for (const auto& [isa, name] : expected) {
    if (isa > host_cpu_features().isa) break;
    const auto choice = choose_s8_gemm(
        desc, Context{.threads = 1, .cpu = limit_cpu_features(host_cpu_features(), isa)});
    ASSERT_TRUE(choice.has_value());
    EXPECT_EQ((*choice)->name, name);
  }
}

}  // namespace
}  // namespace intaglio
