// Pieces that the AVX-512 attention kernels share. Everything has internal linkage: files of
// several instruction sets include it.
#pragma once

// g++ 12 takes the deliberately undefined operands inside its own intrinsics for mistakes.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

#include <cstdint>

#include "ops/cpu/attention_kernels.h"

namespace intaglio {
namespace {

constexpr int64_t kLanes = 16;
constexpr int64_t kPanel = 64;

[[maybe_unused]] inline __mmask16 first_lanes(int64_t count) {
  if (count <= 0) return 0;
  return count >= kLanes ? static_cast<__mmask16>(0xffff)
                         : static_cast<__mmask16>((1u << count) - 1u);
}

[[maybe_unused]] inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// 16 floats of a row of F32 or BF16 elements; lanes outside the mask are zero.
[[maybe_unused]] inline __m512 load_floats(const void* row, bool bf16, int64_t index,
                                           __mmask16 mask) {
  if (!bf16) return _mm512_maskz_loadu_ps(mask, static_cast<const float*>(row) + index);
  const __m256i raw = _mm256_maskz_loadu_epi16(mask, static_cast<const uint16_t*>(row) + index);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(raw), 16));
}

// To bf16, nearest even, NaN kept: the rounding of BFloat16, without bf16 instructions (those flush
// denormals).
[[maybe_unused]] inline __m256i to_bf16(__m512 x) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  rounded = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x00400000));
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16));
}

[[maybe_unused]] inline void store_floats(void* row, bool bf16, int64_t index, __mmask16 mask,
                                          __m512 x) {
  if (bf16) {
    _mm256_mask_storeu_epi16(static_cast<uint16_t*>(row) + index, mask, to_bf16(x));
  } else {
    _mm512_mask_storeu_ps(static_cast<float*>(row) + index, mask, x);
  }
}

// 2^x for x <= 0. x = n + f with |f| <= 1/2; 2^f = 1 + f q(f), q of degree 5 through the Chebyshev
// nodes (error 1e-8, under rounding). Results below the normal range are 0, so no denormal reaches
// the products; NaN stays NaN.
inline __m512 exp2_nonpositive(__m512 x) {
  const __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m512 f = _mm512_sub_ps(x, n);
  __m512 q = _mm512_set1_ps(1.545316295e-04f);
  q = _mm512_fmadd_ps(q, f, _mm512_set1_ps(1.339086336e-03f));
  q = _mm512_fmadd_ps(q, f, _mm512_set1_ps(9.618082557e-03f));
  q = _mm512_fmadd_ps(q, f, _mm512_set1_ps(5.550357114e-02f));
  q = _mm512_fmadd_ps(q, f, _mm512_set1_ps(2.402265076e-01f));
  q = _mm512_fmadd_ps(q, f, _mm512_set1_ps(6.931471880e-01f));
  q = _mm512_fmadd_ps(q, f, _mm512_set1_ps(1.0f));
  const __mmask16 normal = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-126.0f), _CMP_NLT_UQ);
  return _mm512_maskz_scalef_ps(normal, q, n);
}

// Hides keys a row may not see: scores[valid..count) = -inf, whose weight is 0. count is a multiple
// of 16.
[[maybe_unused]] inline void hide_keys(float* scores, int64_t valid, int64_t count) {
  const __m512 hidden = _mm512_set1_ps(-__builtin_inff());
  for (int64_t s = 0; s < count; s += kLanes) {
    const __mmask16 mask = static_cast<__mmask16>(~first_lanes(valid - s));
    if (mask != 0) _mm512_mask_storeu_ps(scores + s, mask, hidden);
  }
}

// The running state of one row and what a new block of scores does to it.
struct RowUpdate {
  __m512 largest;  // of this row so far, in all lanes
  float factor;    // for everything summed before
};

[[maybe_unused]] inline RowUpdate update_largest(const float* scores, int64_t count,
                                                 float scale_log2, float* largest) {
  __m512 most = _mm512_loadu_ps(scores);
  for (int64_t s = kLanes; s < count; s += kLanes)
    most = _mm512_max_ps(most, _mm512_loadu_ps(scores + s));
  const __m512 before = _mm512_set1_ps(*largest);
  const __m512 after = _mm512_max_ps(_mm512_set1_ps(_mm512_reduce_max_ps(most)), before);
  const __m512 factor =
      exp2_nonpositive(_mm512_mul_ps(_mm512_sub_ps(before, after), _mm512_set1_ps(scale_log2)));
  *largest = _mm512_cvtss_f32(after);
  return {after, _mm512_cvtss_f32(factor)};
}

// out[row, :] = sums / total of weights.
[[maybe_unused]] inline void write_rows(const AttentionGeometry& g, const AttentionBlockArgs& args,
                                        const float* totals) {
  const int64_t element = g.bf16 ? 2 : 4;
  for (int64_t r = 0; r < args.rows; ++r) {
    char* out = static_cast<char*>(args.out) + (args.row + r) * args.ldo * element;
    const __m512 inverse = _mm512_set1_ps(1.0f / totals[r]);
    for (int64_t c = 0; c < g.head_dim; c += kLanes) {
      const __m512 x = _mm512_mul_ps(_mm512_loadu_ps(args.sums + r * g.cols_padded + c), inverse);
      store_floats(out, g.bf16, c, first_lanes(g.head_dim - c), x);
    }
  }
}

// Transposes 16 x 16 words: column i of the rows becomes row i.
[[maybe_unused]] inline void transpose_16x16(__m512i r[16]) {
  __m512i t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
    r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
  }
}

}  // namespace
}  // namespace intaglio
