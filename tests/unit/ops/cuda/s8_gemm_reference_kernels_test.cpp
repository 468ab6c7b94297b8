// The judge of int8 products on cards, run on the CPU (emulation/lanes.h) against the reference:
// it takes the reference's outputs whole, and finds each that is another.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "lanes.h"
// Fibers of one thread share what is static, as lanes share what is __shared__.
#undef __shared__
#define __shared__ static

inline int32_t __dp4a(int32_t a, int32_t b, int32_t sum) {
  for (int byte = 0; byte < 32; byte += 8)
    sum += static_cast<int8_t>(a >> byte) * static_cast<int8_t>(b >> byte);
  return sum;
}
inline unsigned long long atomicAdd(unsigned long long* to, unsigned long long value) {
  return std::exchange(*to, *to + value);
}

// Kernels after the emulation, which defines what they are written in.
#include "ops/cuda/kernels/s8_gemm_reference.cuh"
#include "support/int8_reference.h"

namespace intaglio::cuda {
namespace {

using emulation::machine;

constexpr DType kOuts[] = {DType::kI32, DType::kF32, DType::kBF16, DType::kF16};

struct Product {
  std::vector<int8_t> a, w;
  std::vector<float> row_scale, col_scale, bias;
  std::vector<uint32_t> out;
  S8GemmParams p{};

  Product(int m, int n, int k, DType out_type, GemmEpilogue epilogue, bool with_bias) {
    std::mt19937 random(static_cast<unsigned>(m * 7919 + n * 31 + k));
    p.m = m;
    p.n = n;
    p.k = k;
    p.lda = k + 3;
    p.ldw = k + 1;
    p.out_type = out_type;
    p.epilogue = epilogue;
    p.ldo = out_columns(p) + 2;
    for (int64_t i = 0; i < m * p.lda; ++i) a.push_back(static_cast<int8_t>(random()));
    for (int64_t i = 0; i < n * p.ldw; ++i) w.push_back(static_cast<int8_t>(random()));
    std::uniform_real_distribution<float> unit(0.5f, 1.5f);
    for (int i = 0; i < m; ++i) row_scale.push_back(unit(random));
    for (int i = 0; i < n; ++i)
      col_scale.push_back(unit(random) / (5460.0f * std::sqrt(static_cast<float>(k))));
    for (int i = 0; i < n; ++i) bias.push_back(unit(random) - 1.0f);
    out.assign(static_cast<size_t>(m * p.ldo), 0);
    p.a = a.data();
    p.w = w.data();
    p.a_scale_row = row_scale.data();
    p.w_scale_col = col_scale.data();
    p.bias = with_bias ? bias.data() : nullptr;
    p.out = out.data();
    test::reference_s8_gemm(p, p.out);
  }

  S8GemmVerdict judged() const {
    S8GemmVerdict verdict{};
    const int tiles =
        (p.m + kS8JudgeRows - 1) / kS8JudgeRows * ((p.n + kS8JudgeColumns - 1) / kS8JudgeColumns);
    machine.kernel = [&] { judge_s8_gemm_kernel(p, &verdict); };
    machine.grid = {static_cast<unsigned>(tiles), 1, 1};
    for (unsigned block = 0; block < machine.grid.x; ++block) {
      machine.block = {block, 0, 0};
      emulation::run_block(kS8JudgeThreads);
    }
    return verdict;
  }

  // The element's lowest bits become others, three units away.
  void spoil(int64_t row, int64_t col) {
    const int64_t at = row * p.ldo + col;
    if (p.out_type == DType::kI32 || p.out_type == DType::kF32) {
      out[static_cast<size_t>(at)] += p.epilogue == GemmEpilogue::kNone ? 1 : 4096;
    } else {
      reinterpret_cast<uint16_t*>(out.data())[at] += p.epilogue == GemmEpilogue::kNone ? 1 : 3;
    }
  }
};

TEST(S8GemmReference, TakesTheReferencesOutputs) {
  for (const auto& [m, n, k] : {std::array{1, 32, 1}, {16, 64, 64}, {17, 96, 65}, {33, 32, 200}}) {
    for (const DType out : kOuts) {
      for (const GemmEpilogue epilogue : kGemmEpilogues) {
        for (const int narrower : {0, 5, 21}) {
          if (is_gated(epilogue) && narrower > 0) continue;
          const Product product(m, n - narrower, k, out, epilogue, narrower != 5);
          EXPECT_EQ(product.judged().wrong, 0u)
              << m << "x" << n - narrower << "x" << k << " out " << static_cast<int>(out) << " "
              << epilogue_name(epilogue);
        }
      }
    }
  }
}

TEST(S8GemmReference, FindsEachOutputThatIsAnother) {
  for (const DType out : kOuts) {
    for (const GemmEpilogue epilogue : kGemmEpilogues) {
      SCOPED_TRACE(epilogue_name(epilogue));
      Product product(20, 64, 70, out, epilogue, true);
      const int64_t columns = out_columns(product.p);
      product.spoil(19, columns - 1);
      S8GemmVerdict verdict = product.judged();
      EXPECT_EQ(verdict.wrong, 1u);
      EXPECT_EQ(verdict.first, static_cast<uint64_t>(19 * product.p.ldo + columns - 1));
      EXPECT_NE(verdict.got, verdict.want);
      product.spoil(0, 0);
      product.spoil(7, 17);
      EXPECT_EQ(product.judged().wrong, 3u);
    }
  }
}

// A row without a number has none in its outputs, and only there.
TEST(S8GemmReference, NanStandsWhereTheReferenceHasIt) {
  for (const DType out : {DType::kF32, DType::kBF16, DType::kF16}) {
    Product product(5, 32, 40, out, GemmEpilogue::kSwiglu, true);
    product.row_scale[3] = std::nanf("");
    EXPECT_EQ(product.judged().wrong, 16u);
    test::reference_s8_gemm(product.p, product.p.out);
    EXPECT_EQ(product.judged().wrong, 0u);
    product.row_scale[3] = 1.0f;
    EXPECT_EQ(product.judged().wrong, 16u);
  }
}

}  // namespace
}  // namespace intaglio::cuda
