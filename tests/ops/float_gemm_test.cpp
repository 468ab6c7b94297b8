// Every float_gemm implementation against float64 sums, at every instruction-set level of this
// machine and on its GPU.
#include "ops/float_gemm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "ops/each_implementation.h"
#include "ops/ref/float_gemm.h"

namespace intaglio {
namespace {

struct Sizes {
  int64_t m, n, k;
};

// Ragged around the tile heights (6, 8, 12), the vector and panel widths (16, 64), the dot product
// limit (8 rows), depth blocks (512 floats, 1024 bf16) and row chunks (384).
constexpr Sizes kSizes[] = {{1, 1, 1},     {1, 7, 33},    {2, 64, 5},    {3, 17, 100},
                            {8, 65, 31},   {9, 1, 1},     {9, 3, 7},     {13, 16, 17},
                            {14, 47, 33},  {23, 64, 64},  {31, 130, 65}, {50, 96, 1025},
                            {65, 33, 513}, {400, 80, 48}, {12, 9, 2051}};

// Values and what lies between rows: the padding is NaN, so a kernel that reads it spoils its
// result.
struct Matrix {
  DType dtype;
  int64_t ld;
  std::vector<float> floats;
  std::vector<BFloat16> halves;

  Matrix(DType type, int64_t rows, int64_t cols, int64_t stride, uint32_t seed)
      : dtype(type), ld(stride) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    const auto count = static_cast<size_t>(rows * ld);
    floats.assign(count, std::nanf(""));
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < cols; ++c) floats[static_cast<size_t>(r * ld + c)] = normal(random);
    }
    for (const float x : floats) halves.push_back(BFloat16(x));
  }
  void* data() { return dtype == DType::kBF16 ? static_cast<void*>(halves.data()) : floats.data(); }
  size_t bytes() const { return floats.size() * dtype_size(dtype); }
  float at(int64_t row, int64_t col) const {
    const auto i = static_cast<size_t>(row * ld + col);
    return dtype == DType::kBF16 ? static_cast<float>(halves[i]) : floats[i];
  }
};

// Dense rows are what the fast products of a GPU take.
void check(const FloatGemmImplementation& implementation, const Context& base,
           const FloatGemmDesc& desc, bool dense) {
  SCOPED_TRACE(fmt::format("{} bf16={} m={} n={} k={} {}->{} bias={} dense={}", implementation.name,
                           base.cpu.avx512_bf16, desc.m, desc.n, desc.k, dtype_name(desc.in_dtype),
                           dtype_name(desc.out_dtype), desc.has_bias, dense));
  Matrix a(desc.in_dtype, desc.m, desc.k, dense ? desc.k : desc.k + 3, 1);
  Matrix w(desc.in_dtype, desc.n, desc.k, desc.k, 2);
  Matrix bias(DType::kF32, 1, desc.n, desc.n, 3);
  Matrix out(desc.out_dtype, desc.m, 0, dense ? desc.n : desc.n + 5, 4);
  Matrix expected(DType::kF32, desc.m, 0, desc.n, 5);
  FloatGemmArgs args{.a = a.data(),
                     .lda = a.ld,
                     .w = w.data(),
                     .bias = desc.has_bias ? bias.floats.data() : nullptr,
                     .out = expected.data(),
                     .ldo = expected.ld};
  FloatGemmDesc expected_desc = desc;
  expected_desc.out_dtype = DType::kF32;
  ASSERT_TRUE(ref::float_gemm({.threads = 2, .cpu = {}}, expected_desc, args));

  auto memory = allocate(base, implementation.scratch_bytes(desc, base.threads));
  ASSERT_TRUE(memory);
  Arena arena(std::move(*memory));
  Context context = base;
  context.scratch = &arena;
  test::Operands on(context);
  std::vector<std::byte> packed(implementation.packed_bytes(desc));
  if (packed.empty()) {
    args.w = on.in(w.data(), w.bytes());
  } else {
    ASSERT_TRUE(implementation.pack(desc, w.data(), packed.data()));
    args.w = on.in(packed.data(), packed.size());
  }
  args.a = on.in(a.data(), a.bytes());
  args.bias = desc.has_bias ? on.in(bias.floats.data(), bias.floats.size()) : nullptr;
  args.out = on.out(out.data(), out.bytes());
  args.ldo = out.ld;
  const Status status = implementation.run(context, desc, args);
  ASSERT_TRUE(status) << status.error().message;
  on.fetch();
  EXPECT_EQ(arena.used(), 0u);
  // On a GPU a product that the library has not runs without its workspace.
  if (context.gpu == nullptr) {
    EXPECT_EQ(arena.peak(), arena.capacity()) << "the plan is not what ran";
  }

  for (int64_t r = 0; r < desc.m; ++r) {
    for (int64_t c = 0; c < out.ld; ++c) {
      if (c >= desc.n) {
        ASSERT_TRUE(std::isnan(out.at(r, c))) << "wrote past the row, at " << r << ", " << c;
        continue;
      }
      // fp32 sums of k products of unit size: the error is of the order of sqrt(k) 2^-24 sqrt(k),
      // here with a margin of 8; bf16 results add half a unit of their last place (2^-9).
      const float y = expected.at(r, c);
      const double tolerance = 5e-7 * static_cast<double>(desc.k + 1) +
                               (desc.out_dtype == DType::kBF16 ? std::abs(y) / 256 : 0);
      ASSERT_NEAR(out.at(r, c), y, tolerance) << "at " << r << ", " << c;
    }
  }
}

TEST(float_gemm, every_implementation_matches_the_reference) {
  for (const Sizes& size : kSizes) {
    for (int variant = 0; variant < 8; ++variant) {
      const FloatGemmDesc desc{.m = size.m,
                               .n = size.n,
                               .k = size.k,
                               .in_dtype = (variant & 1) != 0 ? DType::kBF16 : DType::kF32,
                               .out_dtype = (variant & 2) != 0 ? DType::kBF16 : DType::kF32,
                               .has_bias = (variant & 4) != 0};
      test::each_implementation(
          float_gemm_implementations(), desc,
          [&](const FloatGemmImplementation& implementation, const Context& context) {
            check(implementation, context, desc, false);
            if (context.gpu != nullptr) check(implementation, context, desc, true);
          });
      if (HasFatalFailure()) return;
    }
  }
}

TEST(float_gemm, a_nan_stays_in_its_row) {
  constexpr int64_t kM = 20, kN = 40, kK = 32;
  for (const DType in : {DType::kF32, DType::kBF16}) {
    const FloatGemmDesc desc{.m = kM, .n = kN, .k = kK, .in_dtype = in, .out_dtype = DType::kBF16};
    test::each_implementation(
        float_gemm_implementations(), desc,
        [&](const FloatGemmImplementation& implementation, const Context& base) {
          Matrix a(in, kM, kK, kK, 1);
          Matrix w(in, kN, kK, kK, 2);
          Matrix out(DType::kBF16, kM, kN, kN, 3);
          a.floats[7 * kK + 29] = std::nanf("");
          a.halves[7 * kK + 29] = BFloat16(std::nanf(""));
          auto memory = allocate(base, implementation.scratch_bytes(desc, base.threads));
          ASSERT_TRUE(memory);
          Arena arena(std::move(*memory));
          Context context = base;
          context.scratch = &arena;
          test::Operands on(context);
          ASSERT_TRUE(
              implementation.run(context, desc,
                                 {on.in(a.data(), a.bytes()), kK, on.in(w.data(), w.bytes()),
                                  nullptr, on.out(out.data(), out.bytes()), kN}));
          on.fetch();
          for (int64_t r = 0; r < kM; ++r) {
            for (int64_t c = 0; c < kN; ++c) ASSERT_EQ(std::isnan(out.at(r, c)), r == 7) << r;
          }
        });
  }
}

TEST(float_gemm, too_little_scratch_is_an_error) {
  const FloatGemmDesc desc{.m = 16, .n = 16, .k = 16};
  std::vector<float> a(256), w(256), out(256);
  const FloatGemmArgs args{a.data(), 16, w.data(), nullptr, out.data(), 16};
  int refused = 0;
  for (const CpuFeatures& cpu : test::tested_cpus()) {
    Context context{.threads = 2, .cpu = cpu};
    for (const FloatGemmImplementation& implementation : float_gemm_implementations()) {
      if (implementation.can_run(desc, context) != nullptr) continue;
      if (implementation.scratch_bytes(desc, context.threads) == 0) continue;
      SCOPED_TRACE(implementation.name);
      EXPECT_FALSE(implementation.run(context, desc, args));
      Arena empty;
      context.scratch = &empty;
      EXPECT_FALSE(implementation.run(context, desc, args));
      context.scratch = nullptr;
      ++refused;
    }
  }
  // All but the reference pack their operands.
  if (host_cpu_features().isa >= CpuIsa::kAvx2) {
    EXPECT_GE(refused, 1);
  }
}

TEST(float_gemm, refuses_types_it_does_not_know) {
  const Context context{.cpu = host_cpu_features()};
  EXPECT_FALSE(choose_float_gemm({.m = 1, .n = 1, .k = 1, .in_dtype = DType::kI8}, context));
  EXPECT_FALSE(choose_float_gemm({.m = 1, .n = 1, .k = 1, .out_dtype = DType::kI32}, context));
  EXPECT_FALSE(choose_float_gemm({.m = 1, .n = 0, .k = 1}, context));
}

}  // namespace
}  // namespace intaglio
