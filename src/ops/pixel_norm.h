// Norm over the channels of each pixel of channels-last pictures.
//
//   y[p, c] = act(x[p, c] * (sqrt(channels) / max(|x[p]|, 1e-12)) * weight[c])
//
// act is SiLU or nothing; |x[p]| is the Euclidean norm over the pixel's channels, F32. A pixel of
// zeros stays one. A NaN makes all of its pixel NaN, an Inf itself.
#pragma once

#include <cstdint>

#include "core/context.h"
#include "core/dtype.h"
#include "core/status.h"
#include "ops/op_list.h"

namespace intaglio {

inline constexpr float kLeastPixelNorm = 1e-12f;

struct PixelNorm {
  const void* x = nullptr;        // [pixels, channels] dense
  const float* weight = nullptr;  // [channels]
  void* y = nullptr;              // as x, or x itself
  int64_t pixels = 0, channels = 0;
  bool silu = false;
  DType dtype = DType::kF32;  // of x and y: kF32 or kBF16
};

// "cuda_pixel_norm", "avx512_pixel_norm", "avx2_pixel_norm", "cpu_pixel_norm", "ref_pixel_norm"
OpList<PixelNorm> pixel_norm_implementations();
Status pixel_norm(const Context& context, const PixelNorm& op);

}  // namespace intaglio
