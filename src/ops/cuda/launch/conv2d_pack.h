// Weights of a convolution in the order that the CUDA kernels read (ops/cuda/conv2d_params.h). Host
// only. Inline, so that builds without CUDA test it.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/dtype.h"
#include "ops/cuda/conv2d_params.h"

namespace intaglio::cuda {

// What decides the packed layout.
struct Conv2dPack {
  int32_t in_channels = 0, out_channels = 0;
  int32_t kernel = 3;    // 1 or 3
  int32_t upsample = 0;  // 1: four phases of 2 x 2 taps, with kernel 3 only
  Conv2dType type = Conv2dType::kBF16;
};

inline Conv2dGeometry conv2d_pack_geometry(const Conv2dPack& c) {
  return conv2d_geometry({.height = 2,
                          .width = 2,
                          .in_channels = c.in_channels,
                          .out_channels = c.out_channels,
                          .kernel = c.kernel,
                          .upsample = c.upsample,
                          .type = c.type});
}

inline int64_t packed_conv2d_bytes(const Conv2dPack& c) {
  const Conv2dGeometry g = conv2d_pack_geometry(c);
  return int64_t{g.phases} * c.out_channels * g.taps * g.channels_padded *
         conv2d_element_bytes(c.type);
}

namespace detail {

// Whether tap `tap` of the 3-tap window reads what tap `t` of the phase's 2-tap window reads. An
// even output (parity 0) has its neighbour above (tap 0) in another pixel of x; an odd one has the
// one below (tap 2) there.
constexpr bool conv2d_folds_on(int parity, int t, int tap) {
  return parity == 0 ? (tap == 0) == (t == 0) : (tap == 2) == (t == 1);
}

// Weight of one tap of one phase; `window` is [kernel, kernel] of one output and input channel.
// Taps are summed in float, before any rounding.
inline float conv2d_phase_weight(const Conv2dPack& c, const Conv2dGeometry& g, const float* window,
                                 int phase, int tap) {
  if (c.upsample == 0) return window[tap];
  float sum = 0.0f;
  for (int y = 0; y < 3; ++y) {
    for (int x = 0; x < 3; ++x) {
      if (conv2d_folds_on(phase / 2, tap / g.side, y) &&
          conv2d_folds_on(phase % 2, tap % g.side, x)) {
        sum += window[3 * y + x];
      }
    }
  }
  return sum;
}

}  // namespace detail

// w: [out_channels, in_channels, kernel, kernel]. packed: packed_conv2d_bytes(c) bytes; every byte
// is written. bf16 rounds to nearest even.
inline void pack_conv2d_weights(const Conv2dPack& c, const float* w, void* packed) {
  const Conv2dGeometry g = conv2d_pack_geometry(c);
  auto* to = static_cast<unsigned char*>(packed);
  for (int phase = 0; phase < g.phases; ++phase) {
    for (int64_t o = 0; o < c.out_channels; ++o) {
      for (int tap = 0; tap < g.taps; ++tap) {
        for (int64_t i = 0; i < g.channels_padded; ++i) {
          float value = 0.0f;
          if (i < c.in_channels) {
            const float* window = w + (o * c.in_channels + i) * c.kernel * c.kernel;
            value = detail::conv2d_phase_weight(c, g, window, phase, tap);
          }
          if (c.type == Conv2dType::kF32) {
            std::memcpy(to, &value, 4);
            to += 4;
          } else {
            const BFloat16 rounded(value);
            std::memcpy(to, &rounded, 2);
            to += 2;
          }
        }
      }
    }
  }
}

}  // namespace intaglio::cuda
