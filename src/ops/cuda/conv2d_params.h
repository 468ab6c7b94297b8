// What the CUDA convolutions take: plain numbers and device pointers, no framework type. Host and
// device. The op is ops/conv2d.h.
//
//   y[oy, ox, o] = bias[o] + sum over dy, dx, c of x[oy + dy - pad, ox + dx - pad, c] * w[o, c, dy, dx]  (+ add[oy, ox, o])
//
// Pictures are channels-last, stride 1, zeros outside, pad = (kernel - 1) / 2. Sums are float; then
// bias and add, each step rounded; then y is rounded to its type.
//
// upsample: x is [height / 2, width / 2, in_channels], read through a nearest x2 upsampling. Of the
// nine pixels that an output reads, only 2 x 2 are different. Which taps fall together depends on
// the parity of the output's row and column, so there are four phases (2 * (oy % 2) + ox % 2). Each
// phase is a convolution of 2 x 2 taps over x; its outputs are every second pixel of every second
// row.
//
// Packed weights (launch/conv2d_pack.h): [phases][out_channels][taps][channels_padded] of `type`,
// taps row by row. The padding is zeros.
#pragma once

#include <cstdint>

#include "core/host_device.h"

namespace intaglio::cuda {

enum class Conv2dType : int32_t { kF32, kBF16 };

struct Conv2dParams {
  // [height, width, in_channels], or half of each way with upsample; dense.
  const void* x = nullptr;
  // Packed, at a multiple of 16 bytes.
  const void* w = nullptr;
  // [out_channels] or nullptr.
  const float* bias = nullptr;
  // As y, or nullptr. May be y itself, but must not overlap it otherwise.
  const void* add = nullptr;
  // [height, width, out_channels], dense. Must not overlap x.
  void* y = nullptr;
  int32_t height = 0, width = 0;  // of y; both even with upsample
  int32_t in_channels = 0, out_channels = 0;
  int32_t kernel = 3;                   // 1 or 3
  int32_t upsample = 0;                 // 0 or 1; 1 with kernel 3 only
  Conv2dType type = Conv2dType::kBF16;  // of x and w
  int32_t f32_out = 0;  // 1: y and add are float whatever `type` is; 0: they are of `type`
};

INTAGLIO_HOST_DEVICE constexpr int32_t conv2d_element_bytes(Conv2dType type) {
  return type == Conv2dType::kF32 ? 4 : 2;
}

// Channels of a tap in the packed weights: each tap begins at a multiple of 16 bytes.
INTAGLIO_HOST_DEVICE constexpr int32_t conv2d_channels_padded(Conv2dType type, int32_t channels) {
  const int32_t step = 16 / conv2d_element_bytes(type);
  return (channels + step - 1) / step * step;
}

// What the parameters say once the phases are told apart: `phases` convolutions over the pixels of
// x, numbered row by row.
struct Conv2dGeometry {
  int32_t height = 0, width = 0;  // of x
  int32_t pixels = 0;             // height * width: outputs of a phase
  int32_t phases = 0;             // 1 or 4
  int32_t side = 0, taps = 0;     // the window is side x side taps
  int32_t channels_padded = 0;
};

INTAGLIO_HOST_DEVICE constexpr Conv2dGeometry conv2d_geometry(const Conv2dParams& p) {
  const int32_t shrink = p.upsample != 0 ? 2 : 1;
  const int32_t side = p.upsample != 0 ? 2 : p.kernel;
  const int32_t height = p.height / shrink, width = p.width / shrink;
  return {.height = height,
          .width = width,
          .pixels = height * width,
          .phases = shrink * shrink,
          .side = side,
          .taps = side * side,
          .channels_padded = conv2d_channels_padded(p.type, p.in_channels)};
}

// Rows from an output's own pixel of x to that of the first tap row. Odd rows of an upsampled
// picture begin at their own pixel, even ones a row above; the same for columns with the phase's
// other bit.
INTAGLIO_HOST_DEVICE constexpr int32_t conv2d_first_row(const Conv2dGeometry& g, int32_t phase) {
  return g.side == 1 ? 0 : phase / 2 - 1;
}
INTAGLIO_HOST_DEVICE constexpr int32_t conv2d_first_column(const Conv2dGeometry& g, int32_t phase) {
  return g.side == 1 ? 0 : phase % 2 - 1;
}

// Bit t: tap t of this pixel's window lies inside x. 0 for a pixel past the last.
INTAGLIO_HOST_DEVICE constexpr uint32_t conv2d_tap_mask(const Conv2dGeometry& g, int32_t phase,
                                                        int32_t pixel) {
  if (pixel >= g.pixels) return 0;
  // Unsigned: half the instructions.
  const uint32_t own_row = static_cast<uint32_t>(pixel) / static_cast<uint32_t>(g.width);
  const int32_t own_column = pixel - static_cast<int32_t>(own_row) * g.width;
  const int32_t row = static_cast<int32_t>(own_row) + conv2d_first_row(g, phase);
  const int32_t column = own_column + conv2d_first_column(g, phase);
  uint32_t columns = 0, mask = 0;
  for (int32_t t = 0; t < 3; ++t) {
    if (t < g.side && column + t >= 0 && column + t < g.width) columns |= 1u << t;
  }
  for (int32_t t = 0; t < 3; ++t) {
    if (t < g.side && row + t >= 0 && row + t < g.height) mask |= columns << (t * g.side);
  }
  return mask;
}

// The pixel of y that a pixel of x gives in this phase: (2 row + phase / 2, 2 column + phase % 2)
// with four phases, itself with one.
INTAGLIO_HOST_DEVICE constexpr int32_t conv2d_output_pixel(const Conv2dGeometry& g, int32_t phase,
                                                           int32_t pixel) {
  if (g.phases == 1) return pixel;
  const int32_t row = pixel / g.width, column = pixel % g.width;
  return (2 * row + phase / 2) * 2 * g.width + 2 * column + phase % 2;
}

}  // namespace intaglio::cuda
