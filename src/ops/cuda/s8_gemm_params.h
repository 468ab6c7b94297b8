// What every CUDA int8 GEMM kernel takes: plain numbers and device pointers, no framework type.
// Host and device.
//
//   acc[m, n] = sum_k a[m, k] * w[n, k]                                        exact in int32 (k <= 130000)
//   y[m, n]   = acc[m, n] * (a_scale_row[m] * w_scale_col[n]) + bias[n]        float, each step rounded
//             = (acc[m, n] * a_scale_row[m] + sum_r side_x[m, r] * side_w[n, r]) * w_scale_col[n] + bias[n]    with a side branch: its products exact, its sums in float
//   out       = epilogue(y), ops/epilogue.h. Gated: out[m, j] of y[m, g] and y[m, g + 16],
//               g = 32 (j / 16) + j % 16 (rows of w in turns of 16); n / 2 columns
//   out_type kI32 writes acc itself: no scales, no bias, no epilogue.
#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "ops/epilogue.h"

namespace intaglio::cuda {

struct S8GemmParams {
  const int8_t* a;           // [m, k] row-major, row stride lda bytes
  const int8_t* w;           // [n, k] row-major, row stride ldw bytes
  const float* a_scale_row;  // [m]
  const float* w_scale_col;  // [n]
  const float* bias;         // [n] or nullptr
  void* out;                 // [m, n or n / 2] row-major, row stride ldo elements
  int64_t lda, ldw, ldo;
  int32_t m, n, k;  // >= 1
  DType out_type;   // kF32, kBF16, kF16 or kI32
  GemmEpilogue epilogue;
  // A low-rank branch (ops/side_branch.h), bf16, both dense from multiples of 16 bytes.
  const uint16_t* side_x = nullptr;  // [m, side_rank]
  const uint16_t* side_w = nullptr;  // [n, side_rank], each row divided by its w_scale_col
  int32_t side_rank = 0;             // a multiple of 16; 0: none
};

INTAGLIO_HOST_DEVICE int32_t out_columns(const S8GemmParams& p) {
  return is_gated(p.epilogue) && p.out_type != DType::kI32 ? p.n / 2 : p.n;
}

}  // namespace intaglio::cuda
