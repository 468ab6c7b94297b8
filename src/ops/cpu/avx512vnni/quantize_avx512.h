// What the AVX-512 row quantizers share; local to each file that includes it.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace intaglio {
namespace {

inline __mmask16 tail_mask(int64_t left) {
  return left >= 16 ? 0xffff : static_cast<__mmask16>((1u << left) - 1);
}

inline __m512 load(const float* x, __mmask16 mask) { return _mm512_maskz_loadu_ps(mask, x); }
inline __m512 load(const uint16_t* x, __mmask16 mask) {
  return _mm512_castsi512_ps(
      _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, x)), 16));
}

inline __m128i quantize16(__m512 x, __m512 factor) {
  // |x * factor| is at most 127 and a rounding, so the saturation of the narrowing is never reached
  // at -128.
  const __m512 scaled = _mm512_max_ps(
      _mm512_min_ps(_mm512_mul_ps(x, factor), _mm512_set1_ps(127.0f)), _mm512_set1_ps(-127.0f));
  return _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(scaled));
}

inline __m512i without_sign(__m512 x) {
  return _mm512_and_si512(_mm512_set1_epi32(0x7fffffff), _mm512_castps_si512(x));
}

}  // namespace
}  // namespace intaglio
