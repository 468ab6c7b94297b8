// cp.async (sm_80 and up): global to shared memory without passing through registers.
#pragma once

#include <cstdint>

namespace intaglio::cuda::ptx {

// Copies `src_bytes` (0 to 16) from global `src` and fills the rest of 16 bytes with zeros. Both
// addresses are multiples of 16. With 0 bytes `src` is not read. Goes past L1: a tile is read once
// per thread block.
__device__ __forceinline__ void cp_async_16(uint32_t dst, const void* src, int src_bytes) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(dst), "l"(src),
               "r"(src_bytes)
               : "memory");
}

__device__ __forceinline__ void cp_async_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}

// Waits until at most kPending of this thread's newest groups are in flight.
template <int kPending>
__device__ __forceinline__ void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

}  // namespace intaglio::cuda::ptx
