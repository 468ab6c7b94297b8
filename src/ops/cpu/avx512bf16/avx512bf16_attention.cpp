// Attention on bf16 with vdpbf16ps: products of bf16 pairs summed in float32.
//
// The blocking is that of avx512_f32_attention (6 rows x 64 columns in registers, 48 query rows,
// 128 keys) with two depths or two keys a multiply-add. Weights are rounded to bf16 before the
// second product, and the row's total is the sum of the rounded weights, so that their rounding
// errors cancel in the mean. vdpbf16ps takes denormals as zero.
#include "ops/cpu/avx512bf16/attention_bf16.h"

namespace intaglio {
namespace {

constexpr int64_t kTileRows = 6;
constexpr int64_t kBlockRows = 48;
constexpr int64_t kBlockKeys = 128;

struct TileArgs {
  const int32_t* a;  // [6, pairs], row stride lda pairs
  int64_t lda;
  const int32_t* b;  // [pairs, vectors * 16], row stride ldb pairs
  int64_t ldb;
  int64_t pairs;
  float* c;  // [6, vectors * 16], row stride ldc
  int64_t ldc;
  const float* factor;  // c = factor[row] * c + a b; nullptr: c = a b
};

// Bit casts without the C-style casts of vector types.
inline __m512bh as_bf16(__m512i x) { return reinterpret_cast<__m512bh>(x); }

template <int kVectors>
inline void multiply_tile(const TileArgs& t) {
  __m512 sum[kTileRows][kVectors];
#pragma GCC unroll 6
  for (int r = 0; r < kTileRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      sum[r][v] = t.factor == nullptr
                      ? _mm512_setzero_ps()
                      : _mm512_mul_ps(_mm512_set1_ps(t.factor[r]),
                                      _mm512_loadu_ps(t.c + r * t.ldc + v * kLanes));
    }
  }
  const int32_t* a0 = t.a;
  const int32_t* a3 = t.a + 3 * t.lda;
  const int32_t* b = t.b;
  const int64_t lda = t.lda;
  for (int64_t p = 0; p < t.pairs; ++p, ++a0, ++a3, b += t.ldb) {
    __m512i right[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) right[v] = _mm512_loadu_si512(b + v * kLanes);
#pragma GCC unroll 3
    for (int r = 0; r < 3; ++r) {
      const __m512i left = _mm512_set1_epi32(a0[r * lda]);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v)
        sum[r][v] = _mm512_dpbf16_ps(sum[r][v], as_bf16(left), as_bf16(right[v]));
    }
#pragma GCC unroll 3
    for (int r = 0; r < 3; ++r) {
      const __m512i left = _mm512_set1_epi32(a3[r * lda]);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        sum[r + 3][v] = _mm512_dpbf16_ps(sum[r + 3][v], as_bf16(left), as_bf16(right[v]));
      }
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < kTileRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) _mm512_storeu_ps(t.c + r * t.ldc + v * kLanes, sum[r][v]);
  }
}

void multiply_tile(int64_t vectors, const TileArgs& t) {
  switch (vectors) {
    case 4:
      return multiply_tile<4>(t);
    case 3:
      return multiply_tile<3>(t);
    case 2:
      return multiply_tile<2>(t);
    default:
      return multiply_tile<1>(t);
  }
}

}  // namespace

void avx512bf16_attention_block(const AttentionGeometry& g, const AttentionBlockArgs& args) {
  const int64_t padded_rows = (args.rows + kTileRows - 1) / kTileRows * kTileRows;
  const int64_t seen = g.causal ? args.row + args.rows : g.keys;
  load_bf16_queries(g, args, padded_rows);
  for (int64_t r = 0; r < padded_rows; ++r) {
    args.row_state[r] = -__builtin_inff();
    args.row_state[kBlockRows + r] = 0.0f;
  }
  const int32_t* q = static_cast<const int32_t*>(args.q_block);
  const int32_t* k = static_cast<const int32_t*>(args.k_packed);
  const int32_t* v = static_cast<const int32_t*>(args.v_packed);
  const int32_t* weights = reinterpret_cast<const int32_t*>(args.scores);
  const float* factors = args.row_state + 2 * kBlockRows;
  const int64_t depth_pairs = g.depth_padded / 2;
  for (int64_t key = 0; key < seen; key += kBlockKeys) {
    const int64_t keys = smaller(kBlockKeys, seen - key);
    const int64_t vectors = (keys + kLanes - 1) / kLanes;
    for (int64_t first = 0; first < vectors; first += 4) {
      const int64_t panel_key = key + first * kLanes;
      const int64_t width = smaller(kPanel, g.keys_padded - panel_key);
      for (int64_t r = 0; r < padded_rows; r += kTileRows) {
        multiply_tile(smaller(4, vectors - first),
                      {q + r * depth_pairs, depth_pairs, k + panel_key * depth_pairs, width,
                       (g.head_dim + 1) / 2, args.scores + r * kBlockKeys + first * kLanes,
                       kBlockKeys, nullptr});
      }
    }
    const int64_t count = (keys + 31) / 32 * 32;
    for (int64_t r = 0; r < padded_rows; ++r) {
      const int64_t valid = g.causal ? smaller(keys, args.row + r + 1 - key) : keys;
      float* scores = args.scores + r * kBlockKeys;
      if (valid < count) hide_keys(scores, valid, count);
      float* state = args.row_state + r;
      const SoftenedRow row = soften_row_bf16(scores, count, g.scale_log2, state);
      state[kBlockRows] = state[kBlockRows] * row.factor + row.total;
      state[2 * kBlockRows] = row.factor;
    }
    for (int64_t col = 0; col < g.cols_padded; col += kPanel) {
      const int64_t width = smaller(kPanel, g.cols_padded - col);
      for (int64_t r = 0; r < padded_rows; r += kTileRows) {
        multiply_tile(width / kLanes, {weights + r * kBlockKeys, kBlockKeys,
                                       v + (col * g.keys_padded + key * width) / 2, width,
                                       (keys + 1) / 2, args.sums + r * g.cols_padded + col,
                                       g.cols_padded, key == 0 ? nullptr : factors + r});
      }
    }
  }
  write_rows(g, args, args.row_state + kBlockRows);
}

}  // namespace intaglio
