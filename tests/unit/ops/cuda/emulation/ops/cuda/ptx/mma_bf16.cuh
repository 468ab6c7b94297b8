#pragma once

#include "core/dtype.h"
#include "lanes.h"

namespace intaglio::cuda::ptx {

inline float bf16_of(uint32_t word, int half) {
  BFloat16 x;
  x.bits = static_cast<uint16_t>(word >> (16 * half));
  return static_cast<float>(x);
}

inline void mma_m16n8k16_bf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  auto& published = emulation::this_exchange();
  const int lane = emulation::lane_index();
  std::copy(a, a + 4, published[lane]);
  published[lane][4] = b0;
  published[lane][5] = b1;
  emulation::warp_barrier();
  for (int e = 0; e < 4; ++e) {
    const int row = lane / 4 + 8 * (e / 2), col = lane % 4 * 2 + e % 2;
    double sum = d[e];
    for (int k = 0; k < 16; ++k) {
      const uint32_t x = published[row % 8 * 4 + k % 8 / 2][row / 8 + k / 8 * 2];
      const uint32_t y = published[col * 4 + k % 8 / 2][4 + k / 8];
      sum += static_cast<double>(bf16_of(x, k % 2)) * static_cast<double>(bf16_of(y, k % 2));
    }
    d[e] = static_cast<float>(sum);
  }
}

}  // namespace intaglio::cuda::ptx
