// The reference of the int8 product (ops/s8_gemm.h): the one oracle of its kernels' tests, of the
// devices that tests make up and of what benchmarks check before they time.
//
// The formulas of an element are for host and device: ops/cuda/kernels/s8_gemm_reference.cuh judges
// a card's results by them at sizes where loops on the host would take minutes.
#pragma once

#include <cmath>
#include <cstdint>

#include "ops/cpu/s8_gemm_kernels.h"
#include "ops/ref/epilogue_tolerance.h"
#include "ops/ref/reference_math.h"

namespace intaglio::ref {

// Rows of int8, `stride` bytes apart.
struct S8Rows {
  const int8_t* data;
  int64_t stride;
};

// Rows [first, end) of the product of a [m, k] and w [n, k] into their place in e.out, F16 too.
// Plain loops, exact int32 sums.
void s8_gemm_rows(const S8Epilogue& e, S8Rows a, S8Rows w, int64_t k, int64_t first, int64_t end);

// Output row `row`, columns [col0, min(col0 + 32, n)) from acc[32]; col0 is a multiple of 32.
void s8_epilogue_row(const S8Epilogue& e, const int32_t* acc, int64_t row, int64_t col0);

// y = sum * (a_scale * w_scale) + *bias, each step rounded to float. In double and back, which
// rounds alike (its 53 bits are more than twice 24 and two), because a compiler for GPUs would
// contract the float steps.
INTAGLIO_HOST_DEVICE float s8_scaled(int32_t sum, float a_scale, float w_scale, const float* bias) {
  const auto scale =
      static_cast<float>(static_cast<double>(a_scale) * static_cast<double>(w_scale));
  const auto y =
      static_cast<float>(static_cast<double>(static_cast<float>(sum)) * static_cast<double>(scale));
  if (bias == nullptr) return y;
  return static_cast<float>(static_cast<double>(y) + static_cast<double>(*bias));
}

// An EpilogueType of y, or of a gated pair's, before it is rounded to the type of the output.
template <class Epilogue>
INTAGLIO_HOST_DEVICE float s8_output(float y, float up) {
  const auto value = static_cast<float>(
      activate<ReferenceMath>(typename Epilogue::Function{}, static_cast<double>(y)));
  if (!Epilogue::kGated) return value;
  return static_cast<float>(static_cast<double>(value) * static_cast<double>(up));
}

// Whether `got` may stand where the reference has `want`, both of them values of the type `out`, a
// float. Without an activation the same bits, and any NaN for a NaN. With one the exponential may
// differ: one unit in the last place of 16 bits; 8 in F32 (exp 3, division and products 1 each,
// rounded up) and what the epilogue adds. Below -88.7 the exponential overflows to infinity and
// SiLU to -0, where the exact value (times |up| <= 1000) is below 1e-33.
INTAGLIO_HOST_DEVICE bool s8_agrees(DType out, GemmEpilogue epilogue, float got, float want) {
  if (std::isnan(want) || std::isnan(got)) return std::isnan(want) && std::isnan(got);
  if (got == want && std::signbit(got) == std::signbit(want)) return true;
  if (epilogue == GemmEpilogue::kNone || std::isinf(want)) return false;
  const double size = std::fabs(static_cast<double>(want));
  const double unit = out == DType::kBF16  ? 0x1p-7
                      : out == DType::kF16 ? 0x1p-10
                                           : epilogue_error(epilogue, size, 8 * 0x1p-23);
  const double least = out == DType::kF16 ? 0x1p-24 : 1e-33;
  return std::fabs(static_cast<double>(got) - static_cast<double>(want)) <= unit * size + least;
}

}  // namespace intaglio::ref
