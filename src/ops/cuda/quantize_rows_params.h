// What the CUDA row quantizers take: plain numbers and device pointers. Host and device.
//
//   v[r, c]   = transform(x)[r, c]                     float, see RowTransform
//   absmax    = max_c |v[r, c]|
//   scale[r]  = max(absmax / 127, 1e-30)
//   q[r, c]   = round_half_even(v[r, c] * (127 / absmax))            exactly as ops/quantize.h: zero, tiny, NaN and Inf rows included
//   q[r, c]   = 0 for cols <= c < ldq
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace intaglio::cuda {

enum class RowTransform : int32_t {
  kNone,
  kSmooth,  // x / smooth[c]
  kRotate,  // ConvRot (quant/rotation.h): cols % group == 0
};

struct QuantizeRowsParams {
  const void* x = nullptr;  // [rows, cols]; row stride ldx elements
  int64_t ldx = 0;
  int8_t* q = nullptr;  // [rows, ldq], ldq a multiple of 16, at a multiple of 16 bytes
  int64_t ldq = 0;
  float* scale = nullptr;         // [rows]
  const float* smooth = nullptr;  // kSmooth: [cols]
  int32_t rows = 0, cols = 0;     // rows >= 0, cols >= 1
  int32_t group = 0;              // kRotate: 16, 64, 256, 1024 or 4096
  DType type = DType::kBF16;
  RowTransform transform = RowTransform::kNone;
};

}  // namespace intaglio::cuda
