#pragma once

#include "ops/cuda/ptx/mma_s8.cuh"

namespace intaglio::cuda::ptx {

inline int32_t unsigned_byte_of(uint32_t word, int index) {
  return static_cast<uint8_t>(word >> (8 * index));
}

inline void mma_m16n8k32_u8s8(int32_t (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  mma_m16n8k32<unsigned_byte_of>(d, a, b0, b1);
}

}  // namespace intaglio::cuda::ptx
