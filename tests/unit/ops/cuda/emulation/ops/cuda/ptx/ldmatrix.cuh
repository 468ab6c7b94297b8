#pragma once

#include "ops/cuda/ptx/shared_memory.cuh"

namespace intaglio::cuda::ptx {

inline void ldmatrix_x4(uint32_t (&r)[4], uint32_t row_address) {
  auto& published = emulation::this_exchange();
  const int lane = emulation::lane_index();
  published[lane][0] = row_address;
  emulation::warp_barrier();
  for (int matrix = 0; matrix < 4; ++matrix) {
    unsigned columns = 0;
    for (int row = 0; row < 8; ++row) columns |= 1u << (published[matrix * 8 + row][0] / 16 % 8);
    if (columns != 0xffu) emulation::fail("ldmatrix: bank conflict");
    std::memcpy(&r[matrix], shared_16(published[matrix * 8 + lane / 4][0]) + 4 * (lane % 4), 4);
  }
}

}  // namespace intaglio::cuda::ptx
