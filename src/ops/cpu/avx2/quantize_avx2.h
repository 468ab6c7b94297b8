// What the AVX2 row quantizers share; local to each file that includes it.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace intaglio {
namespace {

// Eight values as the bits of floats.
inline __m256i load8(const float* x) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x));
}
inline __m256i load8(const uint16_t* x) {
  return _mm256_slli_epi32(
      _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x))), 16);
}

inline __m256i without_sign(__m256i x) {
  return _mm256_and_si256(_mm256_set1_epi32(0x7fffffff), x);
}

inline uint32_t largest_lane(__m256i x) {
  alignas(32) uint32_t lanes[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), x);
  uint32_t most = 0;
  for (uint32_t lane : lanes) most = lane > most ? lane : most;
  return most;
}

inline __m256i quantize8(__m256i x, __m256 factor) {
  const __m256 scaled = _mm256_mul_ps(_mm256_castsi256_ps(x), factor);
  const __m256 clamped =
      _mm256_max_ps(_mm256_min_ps(scaled, _mm256_set1_ps(127.0f)), _mm256_set1_ps(-127.0f));
  return _mm256_cvtps_epi32(clamped);
}

// Eight integers of a byte each.
inline void store8(int8_t* to, __m256i x) {
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm_packs_epi16(words, words));
}

}  // namespace
}  // namespace intaglio
