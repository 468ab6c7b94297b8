// Every implementation of attention, at every instruction-set level of this machine and on its GPU,
// against the reference.
#include <bit>

#include "core/cuda_device.h"
#include "ops/attention_cases.h"
#include "ops/cpu/attention_kernels.h"
#include "ops/each_implementation.h"
#include "ops/first_on_cpu.h"

namespace intaglio {
namespace {

// float32: products and sums of a few hundred terms, an exponential within 2 ulp: measured up to
// 2.5e-6.
constexpr double kF32Tolerance = 1e-5;
// Float kernels on bf16 buffers: only the output is rounded, 2^-8 at most.
constexpr double kBF16OutTolerance = 4e-3;
// bf16 kernels: weights and output are each rounded to 8 bits (2^-9 at most, in the mean over keys
// less).
constexpr double kBF16Tolerance = 1e-2;

double tolerance_of(const AttentionImplementation& implementation, DType dtype) {
  if (dtype == DType::kF32) return kF32Tolerance;
  return std::string_view(implementation.name).find("bf16") == std::string_view::npos
             ? kBF16OutTolerance
             : kBF16Tolerance;
}

std::vector<float> run(const AttentionImplementation& implementation, const AttentionCase& c,
                       const Context& context) {
  return run_case(c, context, implementation.scratch_bytes(c.desc, context.threads),
                  [&](const Context& with_scratch, const AttentionArgs& args) {
                    return implementation.run(with_scratch, c.desc, args);
                  });
}

std::vector<float> run(const AttentionImplementation& implementation, const AttentionCase& c,
                       Context context, int threads) {
  context.threads = threads;
  return run(implementation, c, context);
}

// fn(implementation, context) for each implementation that takes `desc`, on every device.
template <typename Fn>
void for_each_implementation(const AttentionDesc& desc, Fn&& fn) {
  SCOPED_TRACE(to_text(desc));
  test::each_implementation(attention_implementations(), desc, fn);
}

TEST(Attention, MatchesReference) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const AttentionDesc& desc : attention_shapes(dtype)) {
      const AttentionCase c = make_case(desc);
      const std::vector<float> expected = reference_of(c);
      for_each_implementation(
          desc, [&](const AttentionImplementation& implementation, const Context& context) {
            EXPECT_LE(worst_row_error(desc, run(implementation, c, context), expected),
                      tolerance_of(implementation, dtype));
          });
    }
  }
}

// Where the tokens of the output lie changes no bit of them; but rows that no longer begin at
// multiples of 16 bytes have another kernel on a GPU.
TEST(Attention, OutputTokensMayLieApart) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const AttentionDesc& desc : attention_shapes(dtype)) {
      if (desc.tokens > 129) continue;
      const AttentionCase dense = make_case(desc);
      AttentionCase apart = dense;
      for_each_implementation(
          desc, [&](const AttentionImplementation& implementation, const Context& context) {
            const std::vector<float> expected = run(implementation, dense, context);
            for (const int64_t gap : {1, 24}) {
              apart.out_gap = gap;
              const std::vector<float> found = run(implementation, apart, context);
              if (context.gpu != nullptr && dtype == DType::kBF16 && gap % 8 != 0) {
                EXPECT_LE(worst_row_error(desc, found, reference_of(dense)), kBF16Tolerance) << gap;
              } else {
                EXPECT_EQ(found, expected) << gap;
              }
            }
          });
    }
  }
}

// The reference itself, against sums written out by hand: two tokens, logits 0 and ln 3 * sqrt(1).
TEST(Attention, ReferenceByHand) {
  AttentionCase c = make_case({.tokens = 2, .heads = 2, .kv_heads = 1, .head_dim = 1});
  c.k(0, 0, 0) = 0.0f;
  c.k(1, 0, 0) = 1.0f;
  c.v(0, 0, 0) = 8.0f;
  c.v(1, 0, 0) = 16.0f;
  for (int64_t t = 0; t < 2; ++t) {
    c.q(t, 0, 0) = 0.0f;
    c.q(t, 1, 0) = std::log(3.0f);
  }
  c.store();
  const std::vector<float> even{12.0f, 14.0f, 12.0f, 14.0f};  // [token, head]: weights 1:1 and 1:3
  const std::vector<float> found = run(attention_implementations().back(), c, Context{});
  for (size_t i = 0; i < even.size(); ++i) EXPECT_FLOAT_EQ(found[i], even[i]);
  c.desc.causal = true;
  const std::vector<float> causal{8.0f, 8.0f, 12.0f, 14.0f};  // the first token sees only itself
  const std::vector<float> found_causal = run(attention_implementations().back(), c, Context{});
  for (size_t i = 0; i < causal.size(); ++i) EXPECT_FLOAT_EQ(found_causal[i], causal[i]);
  c.desc.causal = false;
  c.desc.keys = 1;  // the second token asks, and nobody asks it
  for (const float value : run(attention_implementations().back(), c, Context{}))
    EXPECT_FLOAT_EQ(value, 8.0f);
}

TEST(Attention, EachLevelChoosesItsOwn) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const AttentionCase c =
        make_case({.tokens = 65, .heads = 4, .kv_heads = 2, .head_dim = 64, .dtype = dtype});
    const std::vector<float> expected = reference_of(c);
    for (const CpuFeatures& cpu : test::tested_cpus()) {
      const Context context{.threads = 2, .cpu = cpu};
      const auto chosen = choose_attention(c.desc, context);
      ASSERT_TRUE(chosen);
      const std::string_view name = (*chosen)->name;
      const bool wants_bf16 = dtype == DType::kBF16 && context.cpu.fast_bf16_dot;
      const std::string_view wanted = cpu.isa == CpuIsa::kRef    ? "ref_attention"
                                      : cpu.isa == CpuIsa::kAvx2 ? "avx2_f32_attention"
                                      : wants_bf16               ? "avx512bf16_attention"
                                                                 : "avx512_f32_attention";
      if (cpu.isa < CpuIsa::kAmx) {
        EXPECT_EQ(name, wanted);
      }
      const std::vector<float> found =
          run_case(c, context, (*chosen)->scratch_bytes(c.desc, context.threads),
                   [&](const Context& with_scratch, const AttentionArgs& args) {
                     return attention(with_scratch, c.desc, args);
                   });
      EXPECT_LE(worst_row_error(c.desc, found, expected), tolerance_of(**chosen, dtype)) << name;
    }
  }
}

TEST(Attention, ThreadsGiveTheSameBits) {
  // 12 heads at 300 tokens are packed in one group or several, depending on the threads.
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const AttentionCase c = make_case({.tokens = 300,
                                       .heads = 12,
                                       .kv_heads = 4,
                                       .head_dim = 32,
                                       .causal = true,
                                       .dtype = dtype});
    for_each_implementation(
        c.desc, [&](const AttentionImplementation& implementation, const Context& context) {
          const std::vector<float> one = run(implementation, c, context, 1);
          EXPECT_EQ(run(implementation, c, context, 2), one);
          EXPECT_EQ(run(implementation, c, context, 3), one);
        });
  }
}

// Enough packed K and V (17 MiB in float32) that heads are taken in several groups.
TEST(Attention, GroupsOfHeads) {
  const AttentionCase c = make_case({.tokens = 700, .heads = 6, .kv_heads = 6, .head_dim = 512});
  const AttentionImplementation& implementation = first_on_cpu(attention_implementations());
  const AttentionImplementation& best =
      implementation.can_run(c.desc, test::host_context(2)) == nullptr
          ? implementation
          : **choose_attention(c.desc, test::host_context(2));
  if (std::string_view(best.name) == "ref_attention") GTEST_SKIP();
  const size_t all_heads = 700 * 512 * 2 * sizeof(float) * 6;
  EXPECT_LT(best.scratch_bytes(c.desc, 1), all_heads);
  // 24 threads pack all heads at once: another order of the same work.
  EXPECT_GT(best.scratch_bytes(c.desc, 24), all_heads);
  EXPECT_EQ(run(best, c, test::host_context(1)), run(best, c, test::host_context(24)));
}

// Logits of several thousand. A float32 logit of that size carries an error of 1e-3, and the
// softmax turns an absolute error of the logit into a relative one of the weight: the tolerance
// grows by the size of the logits.
TEST(Attention, ExtremeLogits) {
  for (const bool causal : {false, true}) {
    const AttentionCase c = make_case(
        {.tokens = 300, .heads = 2, .kv_heads = 2, .head_dim = 64, .causal = causal}, 1000.0f);
    const std::vector<float> expected = reference_of(c);
    for_each_implementation(
        c.desc, [&](const AttentionImplementation& implementation, const Context& context) {
          EXPECT_LE(worst_row_error(c.desc, run(implementation, c, context), expected),
                    4000.0 * 6e-8 * 10);
        });
  }
}

// Logits near 1e35 that differ by whole powers: the softmax picks one key, its value comes out to
// the last bit, nothing overflows.
TEST(Attention, LargeValues) {
  AttentionCase c = make_case({.tokens = 65, .heads = 1, .kv_heads = 1, .head_dim = 16});
  for (int64_t t = 0; t < 65; ++t) {
    for (int64_t j = 0; j < 16; ++j) {
      c.q(t, 0, j) = j == 0 ? 1e17f : 0.0f;
      c.k(t, 0, j) = j == 0 ? (t == 40 ? 9e17f : -1e17f * static_cast<float>(t % 7)) : 1.0f;
      c.v(t, 0, j) = 1e30f * static_cast<float>(t + j);
    }
  }
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    c.desc.dtype = dtype;
    c.store();
    std::vector<float> values(c.values.size());
    convert_to_f32(c.buffer.data(), dtype, values.data(), values.size());
    for_each_implementation(
        c.desc, [&](const AttentionImplementation& implementation, const Context& context) {
          const std::vector<float> found = run(implementation, c, context);
          for (int64_t t = 0; t < 65; ++t) {
            for (int64_t j = 0; j < 16; ++j) {
              ASSERT_EQ(found[static_cast<size_t>(t * 16 + j)],
                        values[static_cast<size_t>(40 * c.ld + c.v_offset() + j)]);
            }
          }
        });
  }
}

// Equal logits average the values. The bf16 kernels divide by the sum of the rounded weights, so
// the rounding of equal weights cancels.
TEST(Attention, EqualLogitsAverage) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    AttentionCase c =
        make_case({.tokens = 300, .heads = 1, .kv_heads = 1, .head_dim = 32, .dtype = dtype});
    for (int64_t t = 0; t < 300; ++t) {
      for (int64_t j = 0; j < 32; ++j) {
        c.q(t, 0, j) = 0.0f;
        c.v(t, 0, j) = static_cast<float>(1 + j);
      }
    }
    c.store();
    for_each_implementation(
        c.desc, [&](const AttentionImplementation& implementation, const Context& context) {
          const std::vector<float> found = run(implementation, c, context);
          for (size_t i = 0; i < found.size(); ++i)
            ASSERT_NEAR(found[i], static_cast<float>(1 + i % 32), 32 * 1e-6f);
        });
  }
}

TEST(Attention, NanShowsInItsRows) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const AttentionDesc desc{
        .tokens = 300, .heads = 2, .kv_heads = 2, .head_dim = 64, .causal = true, .dtype = dtype};
    AttentionCase in_q = make_case(desc);
    in_q.q(170, 1, 5) = nan;
    in_q.store();
    AttentionCase in_k = make_case(desc);
    in_k.k(170, 1, 5) = nan;
    in_k.store();
    AttentionCase in_v = make_case(desc);
    in_v.v(170, 1, 5) = nan;
    in_v.store();
    for_each_implementation(
        desc, [&](const AttentionImplementation& implementation, const Context& context) {
          const std::vector<float> q = run(implementation, in_q, context);
          const std::vector<float> k = run(implementation, in_k, context);
          const std::vector<float> v = run(implementation, in_v, context);
          for (int64_t t = 0; t < 300; ++t) {
            for (int64_t h = 0; h < 2; ++h) {
              for (int64_t j = 0; j < 64; ++j) {
                const auto i = static_cast<size_t>((t * 2 + h) * 64 + j);
                ASSERT_EQ(std::isnan(q[i]), h == 1 && t == 170) << t << " " << h << " " << j;
                ASSERT_EQ(std::isnan(k[i]), h == 1 && t >= 170) << t << " " << h << " " << j;
                if (h == 1 && t >= 170 && j == 5) {
                  ASSERT_TRUE(std::isnan(v[i])) << t;
                }
                if (h == 0 || j != 5 || t < 170 - 48) {
                  ASSERT_FALSE(std::isnan(v[i])) << t << " " << h << " " << j;
                }
              }
            }
          }
        });
  }
}

TEST(Attention, TooSmallScratchIsAnError) {
  const AttentionCase c = make_case({.tokens = 65, .heads = 2, .kv_heads = 2, .head_dim = 64});
  std::vector<float> out(static_cast<size_t>(c.out_count()));
  for_each_implementation(
      c.desc, [&](const AttentionImplementation& implementation, const Context& base) {
        const size_t bytes = implementation.scratch_bytes(c.desc, base.threads);
        if (bytes == 0) return;
        auto arena = Arena::with_capacity(bytes - kCacheLine);
        ASSERT_TRUE(arena);
        Context context = base;
        context.scratch = &*arena;
        const Status status = implementation.run(context, c.desc, c.args(out.data()));
        ASSERT_FALSE(status);
        EXPECT_EQ(status.error().code, ErrorCode::kOutOfMemory);
      });
}

TEST(Attention, RefusesBadShapes) {
  const AttentionCase c = make_case({.tokens = 2, .heads = 2, .kv_heads = 1, .head_dim = 8});
  std::vector<float> out(static_cast<size_t>(c.out_count()));
  auto arena = Arena::with_capacity(1 << 20);
  Context context = test::host_context(1);
  context.scratch = &*arena;
  EXPECT_TRUE(attention(context, c.desc, c.args(out.data())));

  const auto code_of = [&](AttentionDesc desc, AttentionArgs args) {
    const Status status = attention(context, desc, args);
    return status ? ErrorCode::kInternal : status.error().code;
  };
  AttentionDesc desc = c.desc;
  desc.kv_heads = 3;
  EXPECT_EQ(code_of(desc, c.args(out.data())), ErrorCode::kInvalidArgument);
  desc = c.desc;
  desc.head_dim = 0;
  EXPECT_EQ(code_of(desc, c.args(out.data())), ErrorCode::kInvalidArgument);
  desc = c.desc;
  desc.dtype = DType::kF16;
  EXPECT_EQ(code_of(desc, c.args(out.data())), ErrorCode::kUnsupported);
  desc = c.desc;
  desc.tokens = -1;
  EXPECT_EQ(code_of(desc, c.args(out.data())), ErrorCode::kInvalidArgument);
  desc = c.desc;
  desc.keys = -1;
  EXPECT_EQ(code_of(desc, c.args(out.data())), ErrorCode::kInvalidArgument);
  desc.keys = 1;
  EXPECT_TRUE(attention(context, desc, c.args(out.data())));
  desc.causal = true;
  EXPECT_EQ(code_of(desc, c.args(out.data())), ErrorCode::kUnsupported);
  AttentionArgs args = c.args(out.data());
  args.ldk = 7;
  EXPECT_EQ(code_of(c.desc, args), ErrorCode::kInvalidArgument);
  args = c.args(out.data());
  args.ldo = 15;
  const Status narrow = attention(context, c.desc, args);
  ASSERT_FALSE(narrow);
  EXPECT_EQ(narrow.error().message,
            "attention: token stride of the output 15; expected 0 (dense) or at least 16");
  args.ldo = 16;
  EXPECT_TRUE(attention(context, c.desc, args));
  args = c.args(nullptr);
  EXPECT_EQ(code_of(c.desc, args), ErrorCode::kInvalidArgument);
  context.scratch = nullptr;
  EXPECT_EQ(code_of(c.desc, c.args(out.data())), ErrorCode::kInvalidArgument);
  desc = c.desc;
  desc.tokens = 0;
  context.scratch = &*arena;
  EXPECT_TRUE(attention(context, desc, {}));
}

#if defined(__x86_64__)

// Every 997th float from -0 to -130, against the float64 exponential; at or below 2 ulp where the
// result is normal, zero below.
void check_exp2(void (*exp2)(const float*, float*, int64_t)) {
  std::vector<float> x;
  for (uint32_t bits = std::bit_cast<uint32_t>(-0.0f); bits <= std::bit_cast<uint32_t>(-130.0f);
       bits += 997) {
    x.push_back(std::bit_cast<float>(bits));
  }
  std::vector<float> y(x.size());
  exp2(x.data(), y.data(), static_cast<int64_t>(x.size()));
  double worst_ulp = 0.0;
  for (size_t i = 0; i < x.size(); ++i) {
    if (x[i] < -126.0f) {
      ASSERT_EQ(y[i], 0.0f) << x[i];
      continue;
    }
    const double exact = std::exp2(static_cast<double>(x[i]));
    const double ulp = std::ldexp(1.0, std::ilogb(exact) - 23);
    worst_ulp = std::fmax(worst_ulp, std::fabs(static_cast<double>(y[i]) - exact) / ulp);
  }
  EXPECT_LE(worst_ulp, 2.0);
  ::testing::Test::RecordProperty("worst_ulp", std::to_string(worst_ulp));

  const float inf = std::numeric_limits<float>::infinity();
  const float special[] = {0.0f,
                           -1.0f,
                           -126.0f,
                           -inf,
                           std::bit_cast<float>(0x7fc00001u),
                           std::bit_cast<float>(0xffffffffu),
                           -1e38f};
  float result[7] = {};
  exp2(special, result, 7);
  EXPECT_EQ(result[0], 1.0f);
  EXPECT_EQ(result[1], 0.5f);
  EXPECT_EQ(result[2], 0x1p-126f);
  EXPECT_EQ(result[3], 0.0f);
  EXPECT_TRUE(std::isnan(result[4]));
  EXPECT_TRUE(std::isnan(result[5]));
  EXPECT_EQ(result[6], 0.0f);
}

TEST(AttentionExp2, Avx2) {
  if (host_cpu_features().isa < CpuIsa::kAvx2) GTEST_SKIP();
  check_exp2(avx2_attention_exp2);
}

TEST(AttentionExp2, Avx512) {
  if (host_cpu_features().isa < CpuIsa::kAvx512Vnni) GTEST_SKIP();
  check_exp2(avx512_attention_exp2);
}

#endif

}  // namespace
}  // namespace intaglio
