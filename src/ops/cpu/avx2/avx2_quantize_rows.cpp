// Row quantization with AVX2; the same two passes and the same bits as the AVX-512 version.
#include <immintrin.h>

#include <cstdint>

#include "ops/cpu/quantize_kernels.h"
#include "ops/cpu/quantize_scale.h"

namespace intaglio {
namespace {

inline uint32_t bits_at(const float* x) {
  uint32_t bits;
  __builtin_memcpy(&bits, x, 4);
  return bits;
}
inline uint32_t bits_at(const uint16_t* x) { return static_cast<uint32_t>(*x) << 16; }

inline __m256i load8(const float* x) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x));
}
inline __m256i load8(const uint16_t* x) {
  return _mm256_slli_epi32(
      _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x))), 16);
}

template <typename T>
uint32_t magnitude(const T* x, int64_t cols) {
  const __m256i absolute = _mm256_set1_epi32(0x7fffffff);
  __m256i most0 = _mm256_setzero_si256();
  __m256i most1 = _mm256_setzero_si256();
  int64_t c = 0;
  for (; c + 16 <= cols; c += 16) {
    most0 = _mm256_max_epi32(most0, _mm256_and_si256(absolute, load8(x + c)));
    most1 = _mm256_max_epi32(most1, _mm256_and_si256(absolute, load8(x + c + 8)));
  }
  alignas(32) uint32_t lanes[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), _mm256_max_epi32(most0, most1));
  uint32_t most = 0;
  for (uint32_t lane : lanes) most = lane > most ? lane : most;
  for (; c < cols; ++c) {
    const uint32_t bits = bits_at(x + c) & 0x7fffffffu;
    most = bits > most ? bits : most;
  }
  return most;
}

inline __m256i quantize8(__m256i x, __m256 factor) {
  const __m256 scaled = _mm256_mul_ps(_mm256_castsi256_ps(x), factor);
  const __m256 clamped =
      _mm256_max_ps(_mm256_min_ps(scaled, _mm256_set1_ps(127.0f)), _mm256_set1_ps(-127.0f));
  return _mm256_cvtps_epi32(clamped);
}

template <typename T>
float quantize_row(const T* x, int64_t cols, int8_t* q) {
  const RowScale row = row_scale(magnitude(x, cols));
  if (row.factor == 0.0f) {
    __builtin_memset(q, 0, static_cast<size_t>(cols));
    return row.scale;
  }
  const __m256 factor = _mm256_set1_ps(row.factor);
  const __m256i order =
      _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);  // undoes the lane order of the two packs
  int64_t c = 0;
  for (; c + 32 <= cols; c += 32) {
    const __m256i q01 =
        _mm256_packs_epi32(quantize8(load8(x + c), factor), quantize8(load8(x + c + 8), factor));
    const __m256i q23 = _mm256_packs_epi32(quantize8(load8(x + c + 16), factor),
                                           quantize8(load8(x + c + 24), factor));
    const __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(q01, q23), order);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(q + c), bytes);
  }
  for (; c < cols; ++c) {
    const uint32_t bits = bits_at(x + c);
    float value;
    __builtin_memcpy(&value, &bits, 4);
    const __m128 scaled = _mm_mul_ss(_mm_set_ss(value), _mm256_castps256_ps128(factor));
    const __m128 clamped = _mm_max_ss(_mm_min_ss(scaled, _mm_set_ss(127.0f)), _mm_set_ss(-127.0f));
    q[c] = static_cast<int8_t>(_mm_cvtss_si32(clamped));
  }
  return row.scale;
}

}  // namespace

float avx2_quantize_row_f32(const float* x, int64_t cols, int8_t* q) {
  return quantize_row(x, cols, q);
}
float avx2_quantize_row_bf16(const uint16_t* x, int64_t cols, int8_t* q) {
  return quantize_row(x, cols, q);
}

}  // namespace intaglio
