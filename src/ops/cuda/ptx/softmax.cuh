// The instructions a softmax in registers is made of.
#pragma once

#include <cstdint>

namespace intaglio::cuda::ptx {

// 2^x within 2^-22 relative. Results below 2^-126 are 0; 2^0 is 1 exactly, 2^-inf is 0, NaN stays
// NaN.
__device__ __forceinline__ float ex2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

__device__ __forceinline__ float float_of_bits(uint32_t bits) { return __uint_as_float(bits); }

// x of lane `lane ^ mask`. All 32 lanes call it.
__device__ __forceinline__ float shuffle_xor(float x, int mask) {
  return __shfl_xor_sync(0xffffffffu, x, mask);
}

// Whether any lane of the warp says so: the same answer in all lanes. All 32 lanes call it.
__device__ __forceinline__ bool any_lane(bool mine) { return __any_sync(0xffffffffu, mine) != 0; }

// threadIdx.x and blockIdx.x, read anew at each call: what rare code derives from them takes no
// register in the meantime.
__device__ __forceinline__ int read_thread() {
  int x;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(x));
  return x;
}
__device__ __forceinline__ int read_block() {
  int x;
  asm volatile("mov.u32 %0, %%ctaid.x;" : "=r"(x));
  return x;
}

}  // namespace intaglio::cuda::ptx
