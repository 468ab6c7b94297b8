// The copy engine with three coordinates (sm_90); the rest of it is in ptx/tma.cuh. One
// instruction, one function.
#pragma once

#include <cstdint>

#include "ops/cuda/ptx/tma.cuh"

namespace intaglio::cuda::ptx {

// Where a box begins: x along the contiguous dimension. What lies outside the tensor reads as zero
// and counts in the bytes all the same.
struct BoxAt {
  int32_t x, y, z;
};

// Into shared memory `target`; completes `barrier` by the box's bytes.
__device__ __forceinline__ void tma_load_3d(uint32_t target, const CUtensorMap* map, BoxAt at,
                                            uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3, %4}], [%5];" ::"r"(target),
      "l"(map), "r"(at.x), "r"(at.y), "r"(at.z), "r"(barrier)
      : "memory");
}

}  // namespace intaglio::cuda::ptx
