// Stands in for the toolkit's header.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/dtype.h"

using __half = intaglio::Float16;

struct __half2 {
  uint32_t bits;
};

inline __half2 __floats2half2_rn(float low, float high) {
  const intaglio::Float16 pair[2] = {intaglio::Float16(low), intaglio::Float16(high)};
  __half2 v{};
  std::memcpy(&v.bits, pair, 4);
  return v;
}

inline float __half2float(__half x) { return static_cast<float>(x); }
inline __half __float2half_rn(float x) { return intaglio::Float16(x); }
