// ConvRot rotation and row quantization with AVX-512: the bits of rotate_row (quant/rotation.h),
// then of the reference quantizer.
//
// Rotated values are kept until the absmax is known; rows too long to keep are rotated a second
// time, out of L2.
#include <cstdint>

#include "ops/cpu/avx512vnni/quantize_avx512.h"
#include "ops/cpu/avx512vnni/rotate_avx512.h"
#include "ops/cpu/quantize_kernels.h"
#include "ops/cpu/quantize_scale.h"

namespace intaglio {
namespace {

// Rows of up to so many columns are kept rotated, 64 KB.
constexpr int64_t kHeldColumns = 16384;

template <typename T>
float rotate_quantize_row(const T* x, int64_t group, int64_t cols, int8_t* q) {
  alignas(64) float held[kHeldColumns];
  const bool holds = cols <= kHeldColumns;
  __m512i most = _mm512_setzero_si512();
  rotate(x, group, cols, [&](int64_t column, __m512 v) {
    most = _mm512_max_epi32(most, without_sign(v));
    if (holds) _mm512_store_ps(held + column, v);
  });
  const RowScale row = row_scale(static_cast<uint32_t>(_mm512_reduce_max_epi32(most)));
  if (row.factor == 0.0f) {
    __builtin_memset(q, 0, static_cast<size_t>(cols));
    return row.scale;
  }
  const __m512 factor = _mm512_set1_ps(row.factor);
  if (holds) {
    for (int64_t c = 0; c < cols; c += 16)
      _mm_storeu_si128(reinterpret_cast<__m128i*>(q + c),
                       quantize16(_mm512_load_ps(held + c), factor));
    return row.scale;
  }
  rotate(x, group, cols, [&](int64_t column, __m512 v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(q + column), quantize16(v, factor));
  });
  return row.scale;
}

}  // namespace

float avx512_rotate_quantize_row_f32(const float* x, int64_t group, int64_t cols, int8_t* q) {
  return rotate_quantize_row(x, group, cols, q);
}
float avx512_rotate_quantize_row_bf16(const uint16_t* x, int64_t group, int64_t cols, int8_t* q) {
  return rotate_quantize_row(x, group, cols, q);
}

}  // namespace intaglio
