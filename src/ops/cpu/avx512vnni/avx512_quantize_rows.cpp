// Row quantization with AVX-512: one pass for the largest magnitude (as integers, so that Inf and
// NaN win), one to scale, round and narrow. The row stays in L1 or L2 between the passes, so memory
// is read once. Formula and bits as in ops/quantize.h: multiply, then round to even.
#include <cstdint>

#include "ops/cpu/avx512vnni/quantize_avx512.h"
#include "ops/cpu/quantize_kernels.h"
#include "ops/cpu/quantize_scale.h"

namespace intaglio {
namespace {

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

// The same two passes over x / smooth, divided twice: the row is cheaper to divide than to keep.
template <typename T>
float smooth_quantize_row(const T* x, const float* smooth, int64_t cols, int8_t* q) {
  const auto smoothed = [=](int64_t c) {
    const __mmask16 mask = tail_mask(cols - c);
    return _mm512_maskz_div_ps(mask, load(x + c, mask), _mm512_maskz_loadu_ps(mask, smooth + c));
  };
  __m512i most = _mm512_setzero_si512();
  for (int64_t c = 0; c < cols; c += 16) most = _mm512_max_epi32(most, without_sign(smoothed(c)));
  const RowScale row = row_scale(static_cast<uint32_t>(_mm512_reduce_max_epi32(most)));
  if (row.factor == 0.0f) {
    __builtin_memset(q, 0, static_cast<size_t>(cols));
    return row.scale;
  }
  const __m512 factor = _mm512_set1_ps(row.factor);
  for (int64_t c = 0; c < cols; c += 16)
    _mm_mask_storeu_epi8(q + c, tail_mask(cols - c), quantize16(smoothed(c), factor));
  return row.scale;
}

}  // namespace

float avx512_quantize_row_f32(const float* x, int64_t cols, int8_t* q) {
  return quantize_row(x, cols, q);
}
float avx512_quantize_row_bf16(const uint16_t* x, int64_t cols, int8_t* q) {
  return quantize_row(x, cols, q);
}
float avx512_smooth_quantize_row_f32(const float* x, const float* smooth, int64_t cols, int8_t* q) {
  return smooth_quantize_row(x, smooth, cols, q);
}
float avx512_smooth_quantize_row_bf16(const uint16_t* x, const float* smooth, int64_t cols,
                                      int8_t* q) {
  return smooth_quantize_row(x, smooth, cols, q);
}

}  // namespace intaglio
