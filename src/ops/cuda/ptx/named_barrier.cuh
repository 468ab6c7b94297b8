// Named barriers where some threads only signal (sm_70 and up). The waiting half, named_barrier, is
// in ptx/cluster.cuh.
#pragma once

#include <cstdint>

namespace intaglio::cuda::ptx {

// Counts this thread in at barrier `id` (1..15) of `threads` threads, without waiting: those who
// wait count themselves in too.
__device__ __forceinline__ void named_barrier_arrive(int id, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

}  // namespace intaglio::cuda::ptx
