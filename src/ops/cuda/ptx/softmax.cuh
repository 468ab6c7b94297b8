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

// Four numbers of 0 to 255, rounded half to even, as bytes, the first one lowest; a NaN becomes any
// byte. 2^23 has a step of 1 and leaves the integer in the low bits of the sum: two full-rate
// instructions where a conversion to int has a quarter of their rate.
__device__ __forceinline__ uint32_t round_to_bytes(float a, float b, float c, float d) {
  const auto bits = [](float x) { return __float_as_uint(__fadd_rn(x, 8388608.0f)); };
  return __byte_perm(__byte_perm(bits(a), bits(b), 0x0040), __byte_perm(bits(c), bits(d), 0x0040),
                     0x5410);
}

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
