// From the largest magnitude of a row to its factor and scale; local to each file that includes it.
#pragma once

#include <cstdint>

namespace intaglio {
namespace {

struct RowScale {
  float factor;  // q = x * factor; 0 when every q is 0
  float scale;
};

// `magnitude_bits`: the largest |x| of the row as its bit pattern; ordered as an integer, Inf and
// NaN come after every number.
inline RowScale row_scale(uint32_t magnitude_bits) {
  if (magnitude_bits >= 0x7f800000u) return {0.0f, __builtin_nanf("")};
  float absmax;
  __builtin_memcpy(&absmax, &magnitude_bits, 4);
  const float scale = absmax / 127.0f > 1e-30f ? absmax / 127.0f : 1e-30f;
  // 127 / absmax overflows below 3.8e-37; such a row counts as zero.
  if (absmax < 1e-36f) return {0.0f, scale};
  return {127.0f / absmax, scale};
}

}  // namespace
}  // namespace intaglio
