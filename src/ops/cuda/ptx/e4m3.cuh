// Conversion of floats to e4m3: sign, 4 bits of exponent with bias 7, 3 of mantissa; no Inf, NaN is
// 0x7f, the largest value 448 (0x7e), the least 2^-9 (0x01).
#pragma once

#include <cstdint>

namespace intaglio::cuda::ptx {

// One value without the instruction, in integers of 32 bits: cheaper in registers than a detour
// over double.
__device__ __forceinline__ uint32_t e4m3_in_software(float x) {
  const uint32_t bits = __float_as_uint(x), sign = bits >> 24 & 0x80u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return 0x7fu;
  if (magnitude >= 0x43e00000u) return sign | 0x7eu;  // 448 and above
  if (magnitude < 0x3c800000u) {
    // Below 2^-6 the codes are multiples of 2^-9, which is the step of floats from 2^14 on: the sum
    // rounds and ends in the code.
    const float sum = __fadd_rn(__uint_as_float(magnitude), 16384.0f);
    return sign | (__float_as_uint(sum) - 0x46800000u);
  }
  // Half to even on the 20 bits that go; a carry moves into the exponent. The biases are 127 and 7.
  const uint32_t rounded = magnitude + 0x7ffffu + (magnitude >> 20 & 1u);
  return sign | ((rounded >> 20) - (120u << 3));
}

// Two values, rounded half to even, saturated at 448: `low` in bits 0 to 7, `high` in 8 to 15.
__device__ __forceinline__ uint32_t cvt_e4m3x2(float low, float high) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
  uint16_t pair;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(high), "f"(low));
  return pair;
#else
  return e4m3_in_software(low) | e4m3_in_software(high) << 8;
#endif
}

}  // namespace intaglio::cuda::ptx
