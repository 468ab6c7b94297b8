#pragma once

#include "ops/cuda/ptx/shared_memory.cuh"

namespace intaglio::cuda::ptx {

inline void ldmatrix_x4_trans(uint32_t (&r)[4], uint32_t row_address) {
  auto& published = emulation::this_exchange();
  const int lane = emulation::lane_index();
  published[lane][0] = row_address;
  emulation::warp_barrier();
  for (int matrix = 0; matrix < 4; ++matrix) {
    unsigned columns = 0;
    for (int row = 0; row < 8; ++row) columns |= 1u << (published[matrix * 8 + row][0] / 16 % 8);
    if (columns != 0xffu) emulation::fail("ldmatrix.trans: bank conflict");
    uint16_t pair[2];
    for (int i = 0; i < 2; ++i) {
      const int row = lane % 4 * 2 + i, column = lane / 4;
      std::memcpy(&pair[i], shared_16(published[matrix * 8 + row][0]) + 2 * column, 2);
    }
    std::memcpy(&r[matrix], pair, 4);
  }
}

}  // namespace intaglio::cuda::ptx
