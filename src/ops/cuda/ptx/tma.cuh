// The bulk tensor copy engine (sm_90): tiles between global and shared memory, addressed by a
// tensor map. One instruction, one function.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace intaglio::cuda::ptx {

__device__ inline void tma_prefetch_map(const CUtensorMap* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}
// Box at (x, y), x along the contiguous dimension, into shared memory `target`; completes `barrier`
// by the box's bytes.
__device__ inline void tma_load_2d(uint32_t target, const CUtensorMap* map, int32_t x, int32_t y,
                                   uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3}], [%4];" ::"r"(target),
      "l"(map), "r"(x), "r"(y), "r"(barrier)
      : "memory");
}
// The same into every block of the cluster whose bit is set in `blocks`, at the same offsets,
// completing each block's own barrier.
__device__ inline void tma_load_2d_multicast(uint32_t target, const CUtensorMap* map, int32_t x,
                                             int32_t y, uint32_t barrier, uint16_t blocks) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      ".multicast::cluster [%0], [%1, {%2, %3}], [%4], %5;" ::"r"(target),
      "l"(map), "r"(x), "r"(y), "r"(barrier), "h"(blocks)
      : "memory");
}
// Box from shared memory to global memory; parts outside the tensor are not written.
__device__ inline void tma_store_2d(const CUtensorMap* map, uint32_t source, int32_t x, int32_t y) {
  asm volatile(
      "cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%0, {%2, %3}], [%1];" ::"l"(map),
      "r"(source), "r"(x), "r"(y)
      : "memory");
}
__device__ inline void tma_store_commit() {
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
// Waits until at most kPending of this thread's store groups still read shared memory.
template <int kPending>
__device__ inline void tma_store_wait_read() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(kPending) : "memory");
}
// Ordinary shared-memory writes of this thread become visible to the copy engine.
__device__ inline void fence_proxy_async() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

}  // namespace intaglio::cuda::ptx
