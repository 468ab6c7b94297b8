// Which config of sm80_conv2d runs a convolution: a pure function of the sizes and of what the
// device has. Host only.
#pragma once

#include <cstdint>
#include <span>

#include "ops/cuda/conv2d_params.h"

namespace intaglio::cuda {

// One compiled variant of the kernel, as the choice and the benchmark see it.
struct Conv2dConfig {
  int tile_m = 0, tile_n = 0;  // pixels and output channels of one thread block
  int tile_k_bytes = 0;        // of a k tile: two a channel
  int stages = 0, threads = 0;
  int smem_bytes = 0;         // of one block
  int ctas_per_sm = 0;        // blocks that the registers of one SM hold
  bool any_channels = false;  // takes numbers of input channels that are no multiple of 8
};

struct Conv2dDevice {
  int sms = 0;
  int smem_per_block = 0, smem_per_sm = 0;  // bytes
};

// Blocks of this config on one SM; 0 if not even one fits.
constexpr int conv2d_resident_blocks(const Conv2dConfig& c, const Conv2dDevice& device) {
  constexpr int kReservedPerBlock = 1024;
  if (c.smem_bytes > device.smem_per_block) return 0;
  const int fit = device.smem_per_sm / (c.smem_bytes + kReservedPerBlock);
  const int blocks = fit < c.ctas_per_sm ? fit : c.ctas_per_sm;
  return blocks < 1 ? 1 : blocks;
}

// Time of the product in products an SM, were it to do nothing but products.
constexpr double conv2d_cost(const Conv2dConfig& c, const Conv2dParams& p,
                             const Conv2dDevice& device) {
  const auto div_up = [](int64_t a, int64_t b) { return (a + b - 1) / b; };
  const Conv2dGeometry g = conv2d_geometry(p);
  const int64_t blocks = conv2d_resident_blocks(c, device);
  const int64_t tiles = div_up(g.pixels, c.tile_m) * div_up(p.out_channels, c.tile_n) * g.phases;
  const int64_t waves = div_up(tiles, blocks * device.sms);
  const int64_t k_bytes =
      g.taps * div_up(int64_t{2} * p.in_channels, c.tile_k_bytes) * c.tile_k_bytes;
  // Bringing a row of operands costs as much as its products with 64 others: shared memory is as
  // busy as the tensor cores with tiles of 128 x 128.
  constexpr double kRowsOfCopy = 64.0;
  const double operands = 1.0 + kRowsOfCopy / c.tile_m + kRowsOfCopy / c.tile_n;
  return static_cast<double>(waves * blocks * c.tile_m * c.tile_n * k_bytes / 2) * operands;
}

// The index of the cheapest config; the first among equals. -1 if none fits.
constexpr int choose_conv2d_config(std::span<const Conv2dConfig> configs, const Conv2dParams& p,
                                   const Conv2dDevice& device) {
  int best = -1;
  double least = 0.0;
  for (int i = 0; i < static_cast<int>(configs.size()); ++i) {
    const Conv2dConfig& c = configs[static_cast<size_t>(i)];
    if (conv2d_resident_blocks(c, device) == 0) continue;
    if (c.any_channels != (p.in_channels % 8 != 0)) continue;
    const double cost = conv2d_cost(c, p, device);
    if (best >= 0 && cost >= least) continue;
    best = i;
    least = cost;
  }
  return best;
}

}  // namespace intaglio::cuda
