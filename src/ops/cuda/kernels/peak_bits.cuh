// Random operands of the kernels that measure peaks: four int8 of about normal distribution,
// deviation 31, as rows scaled by their largest value have it. Wider ones would cost more power,
// and the peak would lie below what products reach.
#pragma once

#include <cstdint>

namespace intaglio::cuda {

__device__ __forceinline__ uint32_t peak_hash(uint32_t x) {
  x = (x ^ (x >> 16)) * 0x7feb352du;
  x = (x ^ (x >> 15)) * 0x846ca68bu;
  return x ^ (x >> 16);
}

__device__ __forceinline__ uint32_t peak_bits(uint32_t seed) {
  constexpr float kFromSum = 0.21f;  // four uniform bytes have a deviation of 148
  uint32_t word = 0;
#pragma unroll
  for (uint32_t i = 0; i < 4; ++i) {
    const uint32_t h = peak_hash(4 * seed + i);
    const int sum = static_cast<int>((h & 255) + (h >> 8 & 255) + (h >> 16 & 255) + (h >> 24));
    const int value = max(-127, min(127, __float2int_rn((sum - 510) * kFromSum)));
    word |= static_cast<uint32_t>(value & 255) << (8 * i);
  }
  return word;
}

}  // namespace intaglio::cuda
