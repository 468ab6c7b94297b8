// Row quantization with AVX-512: one pass for the largest magnitude (as integers, so that Inf and NaN win), one to scale, round and narrow.
// The row stays in L1 or L2 between the passes, so memory is read once. Formula and bits as in ops/quantize.h: multiply, then round to even.
#include <immintrin.h>

#include <cstdint>

#include "ops/cpu/quantize_kernels.h"
#include "ops/cpu/quantize_scale.h"

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
  // |x * factor| is at most 127 and a rounding, so the saturation of the narrowing is never reached at -128.
  const __m512 scaled = _mm512_max_ps(
      _mm512_min_ps(_mm512_mul_ps(x, factor), _mm512_set1_ps(127.0f)), _mm512_set1_ps(-127.0f));
  return _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(scaled));
}

// The largest |x| of `cols` floats, as bits.
inline uint32_t magnitude(const float* x, int64_t cols) {
  const __m512i absolute = _mm512_set1_epi32(0x7fffffff);
  __m512i most[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(),
                     _mm512_setzero_si512()};
  int64_t c = 0;
  for (; c + 64 <= cols; c += 64) {
    for (int i = 0; i < 4; ++i)
      most[i] =
          _mm512_max_epi32(most[i], _mm512_and_si512(absolute, _mm512_loadu_si512(x + c + 16 * i)));
  }
  for (; c < cols; c += 16) {
    const __mmask16 mask = tail_mask(cols - c);
    most[0] = _mm512_max_epi32(most[0],
                               _mm512_and_si512(absolute, _mm512_maskz_loadu_epi32(mask, x + c)));
  }
  most[0] =
      _mm512_max_epi32(_mm512_max_epi32(most[0], most[1]), _mm512_max_epi32(most[2], most[3]));
  return static_cast<uint32_t>(_mm512_reduce_max_epi32(most[0]));
}

inline uint32_t magnitude(const uint16_t* x, int64_t cols) {
  const __m512i absolute = _mm512_set1_epi16(0x7fff);
  __m512i most[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
  int64_t c = 0;
  for (; c + 64 <= cols; c += 64) {
    most[0] = _mm512_max_epu16(most[0], _mm512_and_si512(absolute, _mm512_loadu_si512(x + c)));
    most[1] = _mm512_max_epu16(most[1], _mm512_and_si512(absolute, _mm512_loadu_si512(x + c + 32)));
  }
  for (; c < cols; c += 32) {
    const int64_t left = cols - c;
    const __mmask32 mask = left >= 32 ? 0xffffffffu : (1u << left) - 1;
    most[0] = _mm512_max_epu16(most[0],
                               _mm512_and_si512(absolute, _mm512_maskz_loadu_epi16(mask, x + c)));
  }
  const __m512i pair = _mm512_max_epu16(most[0], most[1]);
  // Both halves of each 32-bit lane, already at the place of a float's upper bits.
  const __m512i upper = _mm512_and_si512(pair, _mm512_set1_epi32(static_cast<int>(0xffff0000u)));
  const __m512i lower = _mm512_slli_epi32(pair, 16);
  return static_cast<uint32_t>(_mm512_reduce_max_epi32(_mm512_max_epi32(upper, lower)));
}

template <typename T>
float quantize_row(const T* x, int64_t cols, int8_t* q) {
  const RowScale row = row_scale(magnitude(x, cols));
  const __m512 factor = _mm512_set1_ps(row.factor);
  int64_t c = 0;
  if (row.factor == 0.0f) {
    // Not multiplied: NaN and Inf would not give 0.
    for (; c < cols; c += 16) _mm_mask_storeu_epi8(q + c, tail_mask(cols - c), _mm_setzero_si128());
    return row.scale;
  }
  for (; c + 64 <= cols; c += 64) {
    const __m128i q0 = quantize16(load(x + c, 0xffff), factor);
    const __m128i q1 = quantize16(load(x + c + 16, 0xffff), factor);
    const __m128i q2 = quantize16(load(x + c + 32, 0xffff), factor);
    const __m128i q3 = quantize16(load(x + c + 48, 0xffff), factor);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(q + c), q0);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(q + c + 16), q1);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(q + c + 32), q2);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(q + c + 48), q3);
  }
  for (; c < cols; c += 16) {
    const __mmask16 mask = tail_mask(cols - c);
    _mm_mask_storeu_epi8(q + c, mask, quantize16(load(x + c, mask), factor));
  }
  return row.scale;
}

}  // namespace

float avx512_quantize_row_f32(const float* x, int64_t cols, int8_t* q) {
  return quantize_row(x, cols, q);
}
float avx512_quantize_row_bf16(const uint16_t* x, int64_t cols, int8_t* q) {
  return quantize_row(x, cols, q);
}

}  // namespace intaglio
