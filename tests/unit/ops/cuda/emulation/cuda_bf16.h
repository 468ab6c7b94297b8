// Stands in for the toolkit's header.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/dtype.h"

using __nv_bfloat16 = intaglio::BFloat16;

struct __nv_bfloat162 {
  uint32_t bits;
};

inline __nv_bfloat162 __floats2bfloat162_rn(float low, float high) {
  const intaglio::BFloat16 pair[2] = {intaglio::BFloat16(low), intaglio::BFloat16(high)};
  __nv_bfloat162 v{};
  std::memcpy(&v.bits, pair, 4);
  return v;
}

inline __nv_bfloat16 __float2bfloat16_rn(float x) { return intaglio::BFloat16(x); }
inline float __bfloat162float(__nv_bfloat16 x) { return static_cast<float>(x); }
