// What the kernels that write weight-only formats out as bf16 take: plain numbers and device
// pointers. Host and device.
//
//   out[n, k] = bf16(value[n, k] * scale of its row or block)      float product, rounded once, half to even
// The formats: weight_formats.h.
#pragma once

#include <cstdint>

#include "ops/cuda/weight_formats.h"

namespace intaglio::cuda {

struct DequantizeWeightsParams {
  const void* w = nullptr;       // kI8: [n, k] int8, row stride ldw; kNf4: codes; kQ8_0: blocks
  const float* scale = nullptr;  // kI8: [n]; kNf4: absmax, one a block of 64; kQ8_0: not read
  void* out = nullptr;           // bf16 [n, k], dense
  int64_t ldw = 0;               // kI8 only: bytes, >= k
  int32_t n = 0, k = 0;          // >= 1
  WeightFormat format = WeightFormat::kI8;
};

}  // namespace intaglio::cuda
