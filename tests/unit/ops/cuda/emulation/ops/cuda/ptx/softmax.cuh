#pragma once

#include "lanes.h"

namespace intaglio::cuda::ptx {

inline float ex2(float x) {
  const float y = std::exp2(x);
  return y < 0x1p-126f ? 0.0f : y;
}

inline float float_of_bits(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}

inline uint32_t round_to_bytes(float a, float b, float c, float d) {
  uint32_t bytes = 0;
  int shift = 0;
  for (const float x : {a, b, c, d}) {
    bytes |= (std::isnan(x) ? 0xffu : static_cast<uint32_t>(std::nearbyint(x)) & 0xffu) << shift;
    shift += 8;
  }
  return bytes;
}

inline float shuffle_xor(float x, int mask) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return float_of_bits(emulation::exchange_word(bits, emulation::lane_index() ^ mask));
}

inline bool any_lane(bool mine) {
  auto& published = emulation::this_exchange();
  published[emulation::lane_index()][0] = mine ? 1 : 0;
  emulation::warp_barrier();
  uint32_t any = 0;
  for (int lane = 0; lane < 32; ++lane) any |= published[lane][0];
  return any != 0;
}

inline int read_thread() { return emulation::machine.current; }
inline int read_block() { return static_cast<int>(emulation::machine.block.x); }

}  // namespace intaglio::cuda::ptx
