// What the CUDA group norm takes: plain numbers and device pointers. Host and device.
//
//   y[p, c] = act((x[p, c] - mean_g) / sqrt(var_g + eps) * weight[c] + bias[c]),  g = c / (channels / groups), act = SiLU or nothing
// mean_g and var_g are over all pixels and the channels of the group. Sums run in float32 about a
// value of the data, a few hundred to a few thousand elements each, and are added in float64 in a
// fixed order: the same bits on each run. A NaN or an Inf in a group makes all of the group NaN.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ops/cuda/quantize_rows_params.h"

namespace intaglio::cuda {

inline constexpr int64_t kMostGroupNormChannels = 65536;

struct GroupNormParams {
  const void* x = nullptr;        // [pixels, channels] dense
  void* y = nullptr;              // the same shape and type; may be x
  const float* weight = nullptr;  // [channels]
  const float* bias = nullptr;    // [channels]
  int64_t pixels = 0;             // 0 to 2^34
  int32_t channels = 0;           // 1 to 65536
  int32_t groups = 0;             // 1 to 65535, divides channels
  float eps = 0.0f;               // >= 0
  bool silu = false;
  DType type = DType::kBF16;  // kBF16 or kF32
  void* workspace = nullptr;  // group_norm_workspace_bytes, at a multiple of 16 bytes
};
// Fast where x, y, weight and bias are at multiples of 16 bytes, channels is a multiple of 8 (bf16)
// or 4 (f32) and at most 256 times that. Anything else is right, and slow.

}  // namespace intaglio::cuda
