// What the CUDA row quantizers take: plain numbers and device pointers. Host and device.
//
//   v[r, c]   = transform(x)[r, c]                     float, see RowTransform
//   absmax    = max_c |v[r, c]|, or absmax_row[r] if given
//   scale[r]  = max(absmax / 127, 1e-30)
//   q[r, c]   = round_half_even(v[r, c] * (127 / absmax))            exactly as ops/quantize.h: zero, tiny, NaN and Inf rows included
//   q[r, c]   = 0 for cols <= c < ldq
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace intaglio::cuda {

enum class RowTransform : int32_t {
  kNone,
  kRmsNorm,  // ((x * inverse) * weight) * (1 + modulation); inverse = 1 / sqrt(mean(x^2) + eps)
  kSwigluHalves,       // silu(x[r, c]) * x[r, cols + c]; bf16 only
  kSwigluInterleaved,  // gate and up in groups of 16 (ops/s8_gemm.h); bf16 only, cols % 16 == 0
  kSmooth,             // x / smooth[c]
  kRotate,             // ConvRot (quant/rotation.h): cols % group == 0
};

struct QuantizeRowsParams {
  const void* x = nullptr;  // [rows, cols], SwiGLU [rows, 2 * cols]; row stride ldx elements
  int64_t ldx = 0;
  int8_t* q = nullptr;  // [rows, ldq], ldq a multiple of 16, at a multiple of 16 bytes
  int64_t ldq = 0;
  float* scale = nullptr;             // [rows]
  const float* absmax_row = nullptr;  // [rows] or nullptr; kNone only. Larger values are clamped.
  const float* weight = nullptr;      // kRmsNorm: [cols] or nullptr (= 1)
  const float* modulation = nullptr;  // kRmsNorm: [cols] or nullptr (= 0)
  const float* smooth = nullptr;      // kSmooth: [cols]
  float eps = 0.0f;                   // kRmsNorm
  int32_t rows = 0, cols = 0;         // rows >= 0, cols >= 1
  int32_t group = 0;                  // kRotate: 16, 64, 256, 1024 or 4096
  DType type = DType::kBF16;
  RowTransform transform = RowTransform::kNone;
};

}  // namespace intaglio::cuda
