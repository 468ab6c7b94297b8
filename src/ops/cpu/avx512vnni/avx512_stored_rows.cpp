// Rows of a weight as a checkpoint's int8 rows with AVX-512: the bits of quantize_stored_row
// (quant/int8_rows.h). One pass turns the row, rounds it to the weight's type, keeps it and finds
// its largest magnitude, one divides, rounds to the type and narrows. The row stays in L1 or L2
// between them. Rounding to bf16 is arithmetic on integers: vcvtneps2bf16 takes denormals for 0.
#include <bit>
#include <cstdint>

#include "core/finite.h"
#include "ops/cpu/avx512vnni/quantize_avx512.h"
#include "ops/cpu/avx512vnni/rotate_avx512.h"
#include "ops/cpu/stored_row_kernels.h"

namespace intaglio {
namespace {

struct F16Bits {
  uint16_t bits;
};

inline __m512 load(const F16Bits* x, __mmask16 mask) {
  return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, x));
}

// Rounded to the type that the pointer is of: to nearest even.
inline __m512 rounded(__m512 v, const float*) { return v; }
inline __m512 rounded(__m512 v, const F16Bits*) {
  return _mm512_cvtph_ps(_mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
inline __m512 rounded(__m512 v, const uint16_t*) {
  const __m512i bits = _mm512_castps_si512(v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i sum = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
  return _mm512_castsi512_ps(
      _mm512_and_si512(sum, _mm512_set1_epi32(static_cast<int>(0xffff0000u))));
}

constexpr float smallest_normal(const F16Bits*) { return 0x1p-14f; }
constexpr float smallest_normal(const void*) { return 0x1p-126f; }

// The largest magnitude of turned numbers that are not all finite. A NaN leaves the maximum as it
// is: it is the first operand.
float largest_number(const float* work, int64_t cols) {
  __m512 most = _mm512_setzero_ps();
  for (int64_t c = 0; c < cols; c += 16)
    most = _mm512_max_ps(_mm512_abs_ps(_mm512_load_ps(work + c)), most);
  return _mm512_reduce_max_ps(most);
}

template <typename T>
float quantize_row(const void* stored, int64_t group, int64_t cols, float* work, int8_t* q,
                   bool* finite) {
  const T* const w = static_cast<const T*>(stored);
  // Of magnitudes as integers, among which Inf and NaN are the largest.
  __m512i most = _mm512_setzero_si512();
  const auto keep = [&](int64_t column, __m512 v) {
    most = _mm512_max_epu32(_mm512_castps_si512(_mm512_abs_ps(v)), most);
    _mm512_store_ps(work + column, v);
  };
  if (group > 0) {
    rotate(w, group, cols, [&](int64_t column, __m512 v) { keep(column, rounded(v, w)); });
  } else {
    for (int64_t c = 0; c < cols; c += 16) keep(c, load(w + c, tail_mask(cols - c)));
  }
  const uint32_t bits = _mm512_reduce_max_epu32(most);
  *finite = bits < kNotFiniteBits;
  const float absmax = *finite ? std::bit_cast<float>(bits) : largest_number(work, cols);
  const float scale = absmax / 127.0f < 1e-30f ? 1e-30f : absmax / 127.0f;
  const float in_type = _mm512_cvtss_f32(rounded(_mm512_set1_ps(scale), w));
  const __m512 divisor = _mm512_set1_ps(in_type == 0.0f ? smallest_normal(w) : in_type);
  for (int64_t c = 0; c < cols; c += 16) {
    const __m512 quotient = rounded(_mm512_div_ps(_mm512_load_ps(work + c), divisor), w);
    const __m512 clamped =
        _mm512_max_ps(_mm512_min_ps(quotient, _mm512_set1_ps(127.0f)), _mm512_set1_ps(-128.0f));
    const __mmask16 numbers = _mm512_cmp_ps_mask(quotient, quotient, _CMP_ORD_Q);
    const __m128i bytes = _mm512_cvtsepi32_epi8(_mm512_maskz_cvtps_epi32(numbers, clamped));
    if (c + 16 <= cols) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(q + c), bytes);
    } else {
      _mm_mask_storeu_epi8(q + c, tail_mask(cols - c), bytes);
    }
  }
  return scale;
}

}  // namespace

float avx512_quantize_stored_row_f32(const void* w, int64_t group, int64_t cols, float* work,
                                     int8_t* q, bool* finite) {
  return quantize_row<float>(w, group, cols, work, q, finite);
}
float avx512_quantize_stored_row_f16(const void* w, int64_t group, int64_t cols, float* work,
                                     int8_t* q, bool* finite) {
  return quantize_row<F16Bits>(w, group, cols, work, q, finite);
}
float avx512_quantize_stored_row_bf16(const void* w, int64_t group, int64_t cols, float* work,
                                      int8_t* q, bool* finite) {
  return quantize_row<uint16_t>(w, group, cols, work, q, finite);
}

}  // namespace intaglio
