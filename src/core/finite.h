// Whether numbers are finite: neither a NaN nor an infinity.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <span>

namespace intaglio {

// The magnitude of a value as an integer; from kNotFiniteBits on it is an infinity or a NaN.
inline constexpr uint32_t kNotFiniteBits = 0x7f800000u;
inline uint32_t magnitude_bits(float value) { return std::bit_cast<uint32_t>(value) & 0x7fffffffu; }

inline bool all_finite(std::span<const float> values) {
  uint32_t worst = 0;  // integers: the loop takes several values at once
  for (const float value : values) worst = std::max(worst, magnitude_bits(value));
  return worst < kNotFiniteBits;
}

}  // namespace intaglio
