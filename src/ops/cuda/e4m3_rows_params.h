// What the CUDA quantizer of rows to e4m3 takes: plain numbers and device pointers. Host and
// device.
//
//   absmax   = max_c |x[r, c]|
//   scale[r] = max(absmax / 448, 1e-30)                       448: the largest finite e4m3
//   q[r, c]  = e4m3(x[r, c] * (448 / absmax))
// e4m3 rounds half to even and saturates at 448. A zero row gives zeros with scale 1e-30, and so
// does a row with absmax < 2e-36 (448 / absmax would overflow). A row with a NaN or an Inf gives q
// = 0 and scale NaN.
#pragma once

#include <cstdint>

#include "ops/cuda/quantize_rows_params.h"

namespace intaglio::cuda {

// Everything lies at multiples of 16 bytes, each row included.
struct E4m3RowsParams {
  const void* x = nullptr;  // [rows, cols], row stride ldx elements
  int64_t ldx = 0;
  uint8_t* q = nullptr;        // [rows, cols] dense
  float* scale = nullptr;      // [rows]
  int32_t rows = 0, cols = 0;  // rows >= 0; cols a multiple of 16
  DType type = DType::kBF16;
};

}  // namespace intaglio::cuda
