// The arithmetic of ops/nonlinearity.h in plain loops that the compiler vectorises. Local to the
// file that includes it.
#pragma once

#include <cstdint>

// Without this g++ keeps comparisons of floats as branches, and the loops with exp scalar below
// AVX-512. No value changes.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-trapping-math")
#endif

#include "ops/nonlinearity.h"

namespace intaglio::cpu {
namespace {

// exp by 2^n * polynomial on [-ln2/2, ln2/2]; relative error below 2e-7.
inline float exp_fast(float x) {
  constexpr float kMagic =
      12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, left in the low bits
  x = x > 88.0f ? 88.0f : x;
  x = x < -87.0f ? -87.0f : x;
  const float shifted = x * 1.44269504f + kMagic;
  const float n = shifted - kMagic;
  const float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  float p = 1.3888889e-3f;
  p = p * r + 8.3333333e-3f;
  p = p * r + 4.1666667e-2f;
  p = p * r + 1.6666667e-1f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const uint32_t power = (__builtin_bit_cast(uint32_t, shifted) + 127u) << 23;
  return p * __builtin_bit_cast(float, power);
}

struct LoopMath {
  using Value = float;
  static float set(double x) { return static_cast<float>(x); }
  static float add(float a, float b) { return a + b; }
  static float multiply(float a, float b) { return a * b; }
  static float quotient(float x, float u) { return x / (1.0f + exp_fast(-u)); }
};

}  // namespace
}  // namespace intaglio::cpu
