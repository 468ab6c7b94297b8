// What the CUDA kernels of int8 values take: plain numbers and device pointers. Host and device.
// The formula, the layout and the order of the additions: ops/s8_values.h.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace intaglio::cuda {

struct S8ValuesParams {
  const void* v = nullptr;  // [tokens, kv_heads, head_dim], token stride ldv elements
  int64_t ldv = 0;
  int8_t* values = nullptr;  // [kv_heads, groups, head_dim, kS8ValueKeys], at multiples of 16
  float* scale = nullptr;    // [kv_heads, head_dim]
  float* mean = nullptr;     // [kv_heads, head_dim]
  // [3, kv_heads, ceil(tokens / kS8MeanTokens), head_dim]: sums, minima, maxima
  float* workspace = nullptr;
  int32_t tokens = 0, kv_heads = 0, head_dim = 0;
  DType type = DType::kBF16;  // of v: kBF16 or kF32
};

}  // namespace intaglio::cuda
