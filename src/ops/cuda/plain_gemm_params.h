// What the plain float product takes: plain numbers and device pointers. Host and device. The op is
// ops/float_gemm.h.
//
//   out[r, c] = sum over k of a[r, k] * w[c, k]  (+ bias[c])
//
// Sums are float, one fused multiply-add after the other in the order of k; then the bias, rounded;
// then out is rounded to its type. Any sizes, any strides, any alignment of the elements' types.
#pragma once

#include <cstdint>

#include "ops/cuda/quantize_rows_params.h"

namespace intaglio::cuda {

struct PlainGemmParams {
  const void* a = nullptr;      // [m, k], row stride lda elements
  const void* w = nullptr;      // [n, k], row stride ldw elements; of a's type
  const float* bias = nullptr;  // [n] or nullptr
  void* out = nullptr;          // [m, n], row stride ldo elements; overlaps neither a nor w
  int64_t lda = 0, ldw = 0, ldo = 0;
  int64_t m = 0, n = 0, k = 0;
  DType type = DType::kBF16;      // of a and w: kF32 or kBF16
  DType out_type = DType::kBF16;  // kF32 or kBF16
};

}  // namespace intaglio::cuda
