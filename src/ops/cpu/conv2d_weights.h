// The weights of a convolution as the CPU kernels read them: through an upsampling folded to 2 x 2
// windows.
#pragma once

#include "ops/conv2d.h"

namespace intaglio::cpu {

// Which taps of the 3-tap window fall on tap `t` of the 2-tap window of outputs of parity `phase`.
inline bool folds_on(int64_t phase, int64_t t, int64_t tap) {
  return phase == 0 ? (tap == 0) == (t == 0) : (tap == 2) == (t == 1);
}

// The weight of (output o, window row ty, window column tx, channel c) of one phase.
inline float folded_weight(const Conv2dDesc& d, const float* w, int64_t phase, int64_t o,
                           int64_t ty, int64_t tx, int64_t c) {
  const float* window = w + (o * d.in_channels + c) * d.kernel * d.kernel;
  if (!d.upsample) return window[ty * d.kernel + tx];
  float sum = 0.0f;
  for (int64_t y = 0; y < 3; ++y) {
    for (int64_t x = 0; x < 3; ++x) {
      if (folds_on(phase / 2, ty, y) && folds_on(phase % 2, tx, x)) sum += window[y * 3 + x];
    }
  }
  return sum;
}

}  // namespace intaglio::cpu
