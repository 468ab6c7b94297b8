#pragma once

#include "lanes.h"

namespace intaglio::cuda::ptx {

inline int32_t byte_of(uint32_t word, int index) {
  return static_cast<int8_t>(word >> (8 * index));
}

// `of_a`: what a byte of a stands for.
template <int32_t (*of_a)(uint32_t, int)>
void mma_m16n8k32(int32_t (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  auto& published = emulation::this_exchange();
  const int lane = emulation::lane_index();
  std::copy(a, a + 4, published[lane]);
  published[lane][4] = b0;
  published[lane][5] = b1;
  emulation::warp_barrier();
  for (int e = 0; e < 4; ++e) {
    const int row = lane / 4 + 8 * (e / 2), col = lane % 4 * 2 + e % 2;
    for (int k = 0; k < 32; ++k) {
      const uint32_t x = published[row % 8 * 4 + k % 16 / 4][row / 8 + k / 16 * 2];
      const uint32_t y = published[col * 4 + k % 16 / 4][4 + k / 16];
      d[e] += of_a(x, k % 4) * byte_of(y, k % 4);
    }
  }
}

inline void mma_m16n8k32_s8(int32_t (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  mma_m16n8k32<byte_of>(d, a, b0, b1);
}

inline void mma_m8n8k16_s8(int32_t& d0, int32_t& d1, uint32_t a, uint32_t b) {
  auto& published = emulation::this_exchange();
  const int lane = emulation::lane_index();
  published[lane][0] = a;
  published[lane][1] = b;
  emulation::warp_barrier();
  for (int k = 0; k < 16; ++k) {
    const uint32_t x = published[lane / 4 * 4 + k / 4][0];
    const int col = lane % 4 * 2;
    d0 += byte_of(x, k % 4) * byte_of(published[col * 4 + k / 4][1], k % 4);
    d1 += byte_of(x, k % 4) * byte_of(published[(col + 1) * 4 + k / 4][1], k % 4);
  }
}

}  // namespace intaglio::cuda::ptx
