// ConvRot rotation and row quantization with AVX2: the bits of rotate_row (quant/rotation.h), then
// of the reference quantizer.
//
// Rotated values are kept until the absmax is known; rows too long to keep are rotated a second
// time, out of L2.
#include <cstdint>

#include "ops/cpu/avx2/quantize_avx2.h"
#include "ops/cpu/avx2/rotate_avx2.h"
#include "ops/cpu/quantize_kernels.h"
#include "ops/cpu/quantize_scale.h"

namespace intaglio {
namespace {

// Rows of up to so many columns are kept rotated, 64 KB.
constexpr int64_t kHeldColumns = 16384;

template <typename T>
float rotate_quantize_row(const T* x, int64_t group, int64_t cols, int8_t* q) {
  alignas(32) float held[kHeldColumns];
  const bool holds = cols <= kHeldColumns;
  __m256i most = _mm256_setzero_si256();
  rotate(x, group, cols, [&](int64_t column, __m256 v) {
    most = _mm256_max_epi32(most, without_sign(_mm256_castps_si256(v)));
    if (holds) _mm256_store_ps(held + column, v);
  });
  const RowScale row = row_scale(largest_lane(most));
  if (row.factor == 0.0f) {
    __builtin_memset(q, 0, static_cast<size_t>(cols));
    return row.scale;
  }
  const __m256 factor = _mm256_set1_ps(row.factor);
  if (holds) {
    for (int64_t c = 0; c < cols; c += 8) store8(q + c, quantize8(load8(held + c), factor));
    return row.scale;
  }
  rotate(x, group, cols, [&](int64_t column, __m256 v) {
    store8(q + column, quantize8(_mm256_castps_si256(v), factor));
  });
  return row.scale;
}

}  // namespace

float avx2_rotate_quantize_row_f32(const float* x, int64_t group, int64_t cols, int8_t* q) {
  return rotate_quantize_row(x, group, cols, q);
}
float avx2_rotate_quantize_row_bf16(const uint16_t* x, int64_t group, int64_t cols, int8_t* q) {
  return rotate_quantize_row(x, group, cols, q);
}

}  // namespace intaglio
