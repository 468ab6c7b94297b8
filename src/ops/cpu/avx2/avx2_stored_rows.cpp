// Rows of a weight as a checkpoint's int8 rows with AVX2; the same two passes and the same bits as
// the AVX-512 version.
#include <bit>
#include <cstdint>

#include "core/finite.h"
#include "ops/cpu/avx2/quantize_avx2.h"
#include "ops/cpu/avx2/rotate_avx2.h"
#include "ops/cpu/stored_row_kernels.h"

namespace intaglio {
namespace {

struct F16Bits {
  uint16_t bits;
};

inline __m256 load(const F16Bits* x) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x)));
}

// Rounded to the type that the pointer is of: to nearest even.
inline __m256 rounded(__m256 v, const float*) { return v; }
inline __m256 rounded(__m256 v, const F16Bits*) {
  return _mm256_cvtph_ps(_mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
inline __m256 rounded(__m256 v, const uint16_t*) {
  const __m256i bits = _mm256_castps_si256(v);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i sum = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
  return _mm256_castsi256_ps(
      _mm256_and_si256(sum, _mm256_set1_epi32(static_cast<int>(0xffff0000u))));
}

constexpr float smallest_normal(const F16Bits*) { return 0x1p-14f; }
constexpr float smallest_normal(const void*) { return 0x1p-126f; }

// The largest magnitude of turned numbers that are not all finite. A NaN leaves the maximum as it
// is: it is the first operand.
float largest_number(const float* work, int64_t cols) {
  __m256 most = _mm256_setzero_ps();
  for (int64_t c = 0; c < cols; c += 8) {
    const __m256i magnitude = without_sign(_mm256_castps_si256(_mm256_load_ps(work + c)));
    most = _mm256_max_ps(_mm256_castsi256_ps(magnitude), most);
  }
  return std::bit_cast<float>(largest_lane(_mm256_castps_si256(most)));
}

template <typename T>
float quantize_row(const void* stored, int64_t group, int64_t cols, float* work, int8_t* q,
                   bool* finite) {
  const T* const w = static_cast<const T*>(stored);
  // Of magnitudes as integers, among which Inf and NaN are the largest.
  __m256i most = _mm256_setzero_si256();
  const auto keep = [&](int64_t column, __m256 v) {
    most = _mm256_max_epu32(without_sign(_mm256_castps_si256(v)), most);
    _mm256_store_ps(work + column, v);
  };
  const auto left = static_cast<size_t>(cols % 8);
  if (group > 0) {
    rotate(w, group, cols, [&](int64_t column, __m256 v) { keep(column, rounded(v, w)); });
  } else {
    int64_t c = 0;
    for (; c + 8 <= cols; c += 8) keep(c, load(w + c));
    if (left > 0) {
      T tail[8] = {};
      __builtin_memcpy(tail, w + c, left * sizeof(T));
      keep(c, load(tail));
    }
  }
  const uint32_t bits = largest_lane(most);
  *finite = bits < kNotFiniteBits;
  const float absmax = *finite ? std::bit_cast<float>(bits) : largest_number(work, cols);
  const float scale = absmax / 127.0f < 1e-30f ? 1e-30f : absmax / 127.0f;
  const float in_type = _mm256_cvtss_f32(rounded(_mm256_set1_ps(scale), w));
  const __m256 divisor = _mm256_set1_ps(in_type == 0.0f ? smallest_normal(w) : in_type);
  const auto codes = [&](int64_t c) {
    const __m256 quotient = rounded(_mm256_div_ps(_mm256_load_ps(work + c), divisor), w);
    const __m256 clamped =
        _mm256_max_ps(_mm256_min_ps(quotient, _mm256_set1_ps(127.0f)), _mm256_set1_ps(-128.0f));
    const __m256 numbers = _mm256_cmp_ps(quotient, quotient, _CMP_ORD_Q);
    return _mm256_cvtps_epi32(_mm256_and_ps(clamped, numbers));
  };
  int64_t c = 0;
  for (; c + 8 <= cols; c += 8) store8(q + c, codes(c));
  if (left > 0) {
    int8_t tail[8];
    store8(tail, codes(c));
    __builtin_memcpy(q + c, tail, left);
  }
  return scale;
}

}  // namespace

float avx2_quantize_stored_row_f32(const void* w, int64_t group, int64_t cols, float* work,
                                   int8_t* q, bool* finite) {
  return quantize_row<float>(w, group, cols, work, q, finite);
}
float avx2_quantize_stored_row_f16(const void* w, int64_t group, int64_t cols, float* work,
                                   int8_t* q, bool* finite) {
  return quantize_row<F16Bits>(w, group, cols, work, q, finite);
}
float avx2_quantize_stored_row_bf16(const void* w, int64_t group, int64_t cols, float* work,
                                    int8_t* q, bool* finite) {
  return quantize_row<uint16_t>(w, group, cols, work, q, finite);
}

}  // namespace intaglio
