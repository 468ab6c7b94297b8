// Softmax of the two bf16 attention kernels. Internal linkage: both folders that include it have
// their own flags.
#pragma once

#include "ops/cpu/avx512vnni/attention_avx512.h"

namespace intaglio {
namespace {

struct SoftenedRow {
  float factor;  // for everything summed before
  float total;   // sum of the rounded weights
};

// One row of a block: float scores become bf16 weights exp(score - largest) in place (the first
// half of the row); `count` is a multiple of 32.
inline SoftenedRow soften_row_bf16(float* scores, int64_t count, float scale_log2, float* largest) {
  const RowUpdate update = update_largest(scores, count, scale_log2, largest);
  const __m512 scale = _mm512_set1_ps(scale_log2);
  const __m512i ones = _mm512_set1_epi16(0x3f80);  // bf16 1.0
  __m512 total = _mm512_setzero_ps();
  for (int64_t s = 0; s < count; s += 2 * kLanes) {
    const __m512 low = _mm512_sub_ps(_mm512_loadu_ps(scores + s), update.largest);
    const __m512 high = _mm512_sub_ps(_mm512_loadu_ps(scores + s + kLanes), update.largest);
    const __m512bh weights = _mm512_cvtne2ps_pbh(exp2_nonpositive(_mm512_mul_ps(high, scale)),
                                                 exp2_nonpositive(_mm512_mul_ps(low, scale)));
    total = _mm512_dpbf16_ps(total, weights, reinterpret_cast<__m512bh>(ones));
    _mm512_storeu_si512(scores + s / 2, reinterpret_cast<__m512i>(weights));
  }
  return {update.factor, _mm512_reduce_add_ps(total)};
}

// Copies the query rows of a block to q_block [padded_rows, depth_padded]; rows past the last
// repeat it, depths past head_dim are zero.
inline void load_bf16_queries(const AttentionGeometry& g, const AttentionBlockArgs& args,
                              int64_t padded_rows) {
  uint16_t* block = static_cast<uint16_t*>(args.q_block);
  for (int64_t r = 0; r < padded_rows; ++r) {
    const uint16_t* q =
        static_cast<const uint16_t*>(args.q) + (args.row + smaller(r, args.rows - 1)) * args.ldq;
    for (int64_t p = 0; p < g.depth_padded; p += kLanes) {
      const __m256i words = _mm256_maskz_loadu_epi16(first_lanes(g.head_dim - p), q + p);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(block + r * g.depth_padded + p), words);
    }
  }
}

}  // namespace
}  // namespace intaglio
