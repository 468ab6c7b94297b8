// What the CUDA norm of pixels takes: plain numbers and device pointers. Host and device.
//
//   y[p, c] = act(x[p, c] * (root / max(|x[p]|, least)) * weight[c]), act = SiLU or nothing
// Squares are summed in float32, four to a lane at a time, then over the lanes in a fixed order:
// the same bits on each run. NaN and Inf: ops/pixel_norm.h.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace intaglio::cuda {

struct PixelNormParams {
  const void* x = nullptr;        // [pixels, channels] dense
  void* y = nullptr;              // the same shape and type; may be x
  const float* weight = nullptr;  // [channels]
  int64_t pixels = 0;             // 0 to 2^33
  int64_t channels = 0;           // 1 to 65536
  float root = 0.0f;              // of channels
  float least = 0.0f;
  bool silu = false;
  DType type = DType::kBF16;  // kBF16 or kF32
};
// Fast where x, y and weight are at multiples of 16 bytes and channels is a multiple of 4, at most
// 512. Anything else is right, and slow.

}  // namespace intaglio::cuda
