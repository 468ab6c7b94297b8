// The plain float product, run on the CPU (emulation/lanes.h) against a plain loop: sizes that no
// other product takes, rows out of line, strides, guards around the output.
#include "row_emulation.h"
// Kernels after the emulation, which defines what they are written in.
#include "ops/cuda/kernels/plain_gemm.cuh"

namespace intaglio::cuda {
namespace {

struct Case {
  int64_t m = 1, n = 1, k = 1;
  int64_t more_a = 0, more_w = 0, more_out = 0;  // strides beyond the rows
  int shift = 0;                                 // elements that arrays lie beside a multiple of 16
  bool bias = true;
  int blocks = 0;  // 0: one a tile
};

// The kernel's own order of sums: the results are the same bit for bit.
template <typename T, typename Kernel, typename Out>
void check(const Case& c, std::mt19937& random) {
  SCOPED_TRACE(testing::Message() << c.m << "x" << c.n << "x" << c.k);
  const int64_t lda = c.k + c.more_a, ldw = c.k + c.more_w, ldo = c.n + c.more_out;
  Memory<T> a(c.m * lda, c.shift), w(c.n * ldw, c.shift);
  Memory<float> bias(c.n);
  Memory<Out> out(c.m * ldo, c.shift);
  // What lies between the rows is no number.
  for (int64_t i = 0; i < a.count(); ++i)
    a[i] = T(i % lda < c.k ? normal_value(random) : std::nanf(""));
  for (int64_t i = 0; i < w.count(); ++i)
    w[i] = T(i % ldw < c.k ? normal_value(random) : std::nanf(""));
  for (int64_t i = 0; i < c.n; ++i) bias[i] = normal_value(random);
  for (int64_t i = 0; i < out.count(); ++i) out[i] = Out(-77.0f);
  const PlainGemmParams p{.a = a.data(),
                          .w = w.data(),
                          .bias = c.bias ? bias.data() : nullptr,
                          .out = out.data(),
                          .lda = lda,
                          .ldw = ldw,
                          .ldo = ldo,
                          .m = c.m,
                          .n = c.n,
                          .k = c.k,
                          .type = std::is_same_v<T, float> ? DType::kF32 : DType::kBF16,
                          .out_type = std::is_same_v<Out, float> ? DType::kF32 : DType::kBF16};
  constexpr int64_t kTile = PlainGemmConfig::kTile;
  const int64_t tiles = ((c.m + kTile - 1) / kTile) * ((c.n + kTile - 1) / kTile);
  run_grid(c.blocks > 0 ? c.blocks : tiles, PlainGemmConfig::kThreads,
           [=] { plain_gemm_kernel<Kernel>(p); });
  for (int64_t r = 0; r < c.m; ++r) {
    for (int64_t col = 0; col < ldo; ++col) {
      float sum = 0.0f;
      for (int64_t k = 0; k < c.k && col < c.n; ++k)
        sum = std::fma(as_float(a[r * lda + k]), as_float(w[col * ldw + k]), sum);
      if (c.bias && col < c.n) sum += bias[col];
      const float expected = col < c.n ? as_float(Out(sum)) : -77.0f;
      ASSERT_EQ(as_float(out[r * ldo + col]), expected) << r << ", " << col;
    }
  }
  EXPECT_TRUE(out.guards_are_whole());
}

void check_all_types(const Case& c) {
  std::mt19937 random(5);
  check<float, float, float>(c, random);
  check<BFloat16, __nv_bfloat16, BFloat16>(c, random);
  check<BFloat16, __nv_bfloat16, float>(c, random);
  check<float, float, BFloat16>(c, random);
}

TEST(PlainGemm, TakesTheSizesThatOthersRefuse) {
  check_all_types({.m = 4, .n = 64, .k = 4});  // the decoder's attention over a latent of 2 x 2
  check_all_types({.m = 1, .n = 1, .k = 1});
  check_all_types({.m = 3, .n = 5, .k = 7, .bias = false});
  check_all_types({.m = 65, .n = 63, .k = 17});
  check_all_types({.m = 2, .n = 130, .k = 33, .bias = false});
}

TEST(PlainGemm, RowsMayLieAnywhere) {
  check_all_types({.m = 5, .n = 9, .k = 6, .more_a = 3, .more_w = 1, .more_out = 2, .shift = 1});
  check_all_types({.m = 70, .n = 70, .k = 15, .more_a = 1, .more_out = 5, .shift = 3});
}

// More tiles than blocks: each block takes several.
TEST(PlainGemm, BlocksTakeTheTilesInTurns) {
  check_all_types({.m = 130, .n = 66, .k = 5, .blocks = 2});
}

}  // namespace
}  // namespace intaglio::cuda
