// Accesses to global memory with cache hints.
#pragma once

#include <cstdint>

namespace intaglio::cuda::ptx {

// 16 bytes that are read once: past L1. Volatile keeps several of them together, ahead of the first
// use.
__device__ __forceinline__ uint4 ld_global_stream_16(const void* from) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(from));
  return v;
}

// The same of 8 and of 4 bytes.
__device__ __forceinline__ uint2 ld_global_stream_8(const void* from) {
  uint2 v;
  asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v2.u32 {%0, %1}, [%2];"
               : "=r"(v.x), "=r"(v.y)
               : "l"(from));
  return v;
}

__device__ __forceinline__ uint32_t ld_global_stream_4(const void* from) {
  uint32_t v;
  asm volatile("ld.global.nc.L1::no_allocate.L2::128B.u32 %0, [%1];" : "=r"(v) : "l"(from));
  return v;
}

// Brings the line of `from` to L1; a hint, so a wrong address harms nothing.
__device__ __forceinline__ void prefetch_l1(const void* from) {
  asm volatile("prefetch.global.L1 [%0];" ::"l"(from));
}

}  // namespace intaglio::cuda::ptx
