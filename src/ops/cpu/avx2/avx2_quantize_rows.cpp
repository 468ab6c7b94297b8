// Row quantization with AVX2; the same two passes and the same bits as the AVX-512 version.
#include <cstdint>

#include "ops/cpu/avx2/quantize_avx2.h"
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

template <typename T>
float value_at(const T* x) {
  const uint32_t bits = bits_at(x);
  float value;
  __builtin_memcpy(&value, &bits, 4);
  return value;
}

inline int8_t quantize1(float x, float factor) {
  const __m128 scaled = _mm_set_ss(x * factor);
  const __m128 clamped = _mm_max_ss(_mm_min_ss(scaled, _mm_set_ss(127.0f)), _mm_set_ss(-127.0f));
  return static_cast<int8_t>(_mm_cvtss_si32(clamped));
}

template <typename T>
uint32_t magnitude(const T* x, int64_t cols) {
  __m256i most0 = _mm256_setzero_si256();
  __m256i most1 = _mm256_setzero_si256();
  int64_t c = 0;
  for (; c + 16 <= cols; c += 16) {
    most0 = _mm256_max_epi32(most0, without_sign(load8(x + c)));
    most1 = _mm256_max_epi32(most1, without_sign(load8(x + c + 8)));
  }
  uint32_t most = largest_lane(_mm256_max_epi32(most0, most1));
  for (; c < cols; ++c) {
    const uint32_t bits = bits_at(x + c) & 0x7fffffffu;
    most = bits > most ? bits : most;
  }
  return most;
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
  for (; c < cols; ++c) q[c] = quantize1(value_at(x + c), row.factor);
  return row.scale;
}

// The same two passes over x / smooth, divided twice: the row is cheaper to divide than to keep.
template <typename T>
float smooth_quantize_row(const T* x, const float* smooth, int64_t cols, int8_t* q) {
  const auto smoothed8 = [=](int64_t c) {
    return _mm256_div_ps(_mm256_castsi256_ps(load8(x + c)), _mm256_loadu_ps(smooth + c));
  };
  __m256i most8 = _mm256_setzero_si256();
  int64_t c = 0;
  for (; c + 8 <= cols; c += 8)
    most8 = _mm256_max_epi32(most8, without_sign(_mm256_castps_si256(smoothed8(c))));
  uint32_t most = largest_lane(most8);
  for (; c < cols; ++c) {
    const float value = value_at(x + c) / smooth[c];
    const uint32_t bits = bits_at(&value) & 0x7fffffffu;
    most = bits > most ? bits : most;
  }
  const RowScale row = row_scale(most);
  if (row.factor == 0.0f) {
    __builtin_memset(q, 0, static_cast<size_t>(cols));
    return row.scale;
  }
  const __m256 factor = _mm256_set1_ps(row.factor);
  for (c = 0; c + 8 <= cols; c += 8)
    store8(q + c, quantize8(_mm256_castps_si256(smoothed8(c)), factor));
  for (; c < cols; ++c) q[c] = quantize1(value_at(x + c) / smooth[c], row.factor);
  return row.scale;
}

}  // namespace

float avx2_quantize_row_f32(const float* x, int64_t cols, int8_t* q) {
  return quantize_row(x, cols, q);
}
float avx2_quantize_row_bf16(const uint16_t* x, int64_t cols, int8_t* q) {
  return quantize_row(x, cols, q);
}
float avx2_smooth_quantize_row_f32(const float* x, const float* smooth, int64_t cols, int8_t* q) {
  return smooth_quantize_row(x, smooth, cols, q);
}
float avx2_smooth_quantize_row_bf16(const uint16_t* x, const float* smooth, int64_t cols,
                                    int8_t* q) {
  return smooth_quantize_row(x, smooth, cols, q);
}

}  // namespace intaglio
