// What every CUDA int8 GEMM kernel takes: plain numbers and device pointers, no framework type. Host and device.
//
//   acc[m, n] = sum_k a[m, k] * w[n, k]                                        exact in int32 (k <= 130000)
//   y[m, n]   = acc[m, n] * (a_scale_row[m] * w_scale_col[n]) + bias[n]        float, each step rounded
//   out       = y                          kNone
//   out[m, j] = silu(y[m, g]) * y[m, u]    kSwiglu: g = 32 (j / 16) + j % 16, u = g + 16 (rows of w interleaved in groups of 16); n / 2 columns
//   out_type kI32 writes acc itself: no scales, no bias, no SwiGLU.
#pragma once

#include <cstdint>

namespace intaglio::cuda {

enum class S8Out : int32_t { kI32, kF32, kBF16, kF16 };
enum class S8Fusion : int32_t { kNone, kSwiglu };

struct S8GemmParams {
  const int8_t* a;           // [m, k] row-major, row stride lda bytes
  const int8_t* w;           // [n, k] row-major, row stride ldw bytes
  const float* a_scale_row;  // [m]
  const float* w_scale_col;  // [n]
  const float* bias;         // [n] or nullptr
  void* out;                 // [m, n or n / 2] row-major, row stride ldo elements
  int64_t lda, ldw, ldo;
  int32_t m, n, k;  // >= 1
  S8Out out_type;
  S8Fusion fusion;
};

}  // namespace intaglio::cuda
