// Attention in float32 with AVX-512; bf16 buffers are widened when they are packed.
//
// Both products run on one register tile of 6 rows x up to 64 columns (24 accumulators, 4 vectors
// of the right operand, 1 broadcast):
//   scores[6, 64 keys] = q[6, depth] k[depth, 64 keys];   sums[6, 64 columns] = factor * sums +
//   weights[6, keys] v[keys, 64 columns]
// A block is 48 query rows and 128 keys: the scores (24 KiB) stay in L1 between the products and
// the softmax, and scaling the sums by a new largest logit (one load, multiply and store a vector)
// is spread over 128 multiply-adds.
#include "ops/cpu/avx512vnni/attention_avx512.h"

namespace intaglio {
namespace {

constexpr int64_t kTileRows = 6;
constexpr int64_t kBlockRows = 48;
constexpr int64_t kBlockKeys = 128;

struct TileArgs {
  const float* a;  // [6, depth], row stride lda
  int64_t lda;
  const float* b;  // [depth, vectors * 16], row stride ldb
  int64_t ldb;
  int64_t depth;
  float* c;  // [6, vectors * 16], row stride ldc
  int64_t ldc;
  const float* factor;  // c = factor[row] * c + a b; nullptr: c = a b
};

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
  const float* a0 = t.a;
  const float* a3 = t.a + 3 * t.lda;
  const float* b = t.b;
  const int64_t lda = t.lda;
  for (int64_t p = 0; p < t.depth; ++p, ++a0, ++a3, b += t.ldb) {
    __m512 right[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) right[v] = _mm512_loadu_ps(b + v * kLanes);
#pragma GCC unroll 3
    for (int r = 0; r < 3; ++r) {
      const __m512 left = _mm512_set1_ps(a0[r * lda]);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sum[r][v] = _mm512_fmadd_ps(left, right[v], sum[r][v]);
    }
#pragma GCC unroll 3
    for (int r = 0; r < 3; ++r) {
      const __m512 left = _mm512_set1_ps(a3[r * lda]);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v)
        sum[r + 3][v] = _mm512_fmadd_ps(left, right[v], sum[r + 3][v]);
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

// One row of a block: scores become weights exp(score - largest); `count` is a multiple of 16.
void soften_row(float* scores, int64_t count, float scale_log2, float* state) {
  const RowUpdate update = update_largest(scores, count, scale_log2, state);
  const __m512 scale = _mm512_set1_ps(scale_log2);
  __m512 total = _mm512_setzero_ps();
  for (int64_t s = 0; s < count; s += kLanes) {
    const __m512 below = _mm512_sub_ps(_mm512_loadu_ps(scores + s), update.largest);
    const __m512 weight = exp2_nonpositive(_mm512_mul_ps(below, scale));
    total = _mm512_add_ps(total, weight);
    _mm512_storeu_ps(scores + s, weight);
  }
  state[kBlockRows] = state[kBlockRows] * update.factor + _mm512_reduce_add_ps(total);
  state[2 * kBlockRows] = update.factor;
}

void load_queries(const AttentionGeometry& g, const AttentionBlockArgs& args, int64_t padded_rows) {
  float* block = static_cast<float*>(args.q_block);
  for (int64_t r = 0; r < padded_rows; ++r) {
    const int64_t token = args.row + smaller(r, args.rows - 1);  // padding rows repeat the last one
    const char* q = static_cast<const char*>(args.q) + token * args.ldq * (g.bf16 ? 2 : 4);
    for (int64_t p = 0; p < g.head_dim; p += kLanes) {
      const __mmask16 mask = first_lanes(g.head_dim - p);
      _mm512_mask_storeu_ps(block + r * g.depth_padded + p, mask, load_floats(q, g.bf16, p, mask));
    }
  }
}

}  // namespace

void avx512_f32_attention_block(const AttentionGeometry& g, const AttentionBlockArgs& args) {
  const int64_t padded_rows = (args.rows + kTileRows - 1) / kTileRows * kTileRows;
  const int64_t seen = g.causal ? args.row + args.rows : g.keys;
  load_queries(g, args, padded_rows);
  for (int64_t r = 0; r < padded_rows; ++r) {
    args.row_state[r] = -__builtin_inff();
    args.row_state[kBlockRows + r] = 0.0f;
  }
  const float* q = static_cast<const float*>(args.q_block);
  const float* k = static_cast<const float*>(args.k_packed);
  const float* v = static_cast<const float*>(args.v_packed);
  const float* factors = args.row_state + 2 * kBlockRows;
  for (int64_t key = 0; key < seen; key += kBlockKeys) {
    const int64_t keys = smaller(kBlockKeys, seen - key);
    const int64_t vectors = (keys + kLanes - 1) / kLanes;
    for (int64_t first = 0; first < vectors; first += 4) {
      const int64_t panel_key = key + first * kLanes;
      const int64_t width = smaller(kPanel, g.keys_padded - panel_key);
      for (int64_t r = 0; r < padded_rows; r += kTileRows) {
        multiply_tile(
            smaller(4, vectors - first),
            {q + r * g.depth_padded, g.depth_padded, k + panel_key * g.depth_padded, width,
             g.head_dim, args.scores + r * kBlockKeys + first * kLanes, kBlockKeys, nullptr});
      }
    }
    for (int64_t r = 0; r < padded_rows; ++r) {
      const int64_t valid = g.causal ? smaller(keys, args.row + r + 1 - key) : keys;
      float* scores = args.scores + r * kBlockKeys;
      if (valid < vectors * kLanes) hide_keys(scores, valid, vectors * kLanes);
      soften_row(scores, vectors * kLanes, g.scale_log2, args.row_state + r);
    }
    for (int64_t col = 0; col < g.cols_padded; col += kPanel) {
      const int64_t width = smaller(kPanel, g.cols_padded - col);
      for (int64_t r = 0; r < padded_rows; r += kTileRows) {
        multiply_tile(width / kLanes, {args.scores + r * kBlockKeys, kBlockKeys,
                                       v + col * g.keys_padded + key * width, width, keys,
                                       args.sums + r * g.cols_padded + col, g.cols_padded,
                                       key == 0 ? nullptr : factors + r});
      }
    }
  }
  write_rows(g, args, args.row_state + kBlockRows);
}

void avx512_f32_attention_pack_k(const AttentionGeometry& g, const AttentionPackArgs& args) {
  float* packed = static_cast<float*>(args.packed);
  const int64_t element = g.bf16 ? 2 : 4;
  for (int64_t key = args.begin; key < args.end; key += kLanes) {
    const int64_t panel = key / kPanel * kPanel;
    const int64_t width = smaller(kPanel, g.keys_padded - panel);
    float* target = packed + panel * g.depth_padded + (key - panel);
    for (int64_t p = 0; p < g.head_dim; p += kLanes) {
      const __mmask16 mask = first_lanes(g.head_dim - p);
      __m512i rows[kLanes];
      for (int64_t i = 0; i < kLanes; ++i) {
        const char* source = static_cast<const char*>(args.source) +
                             smaller(key + i, g.keys - 1) * args.ld * element;
        rows[i] = _mm512_castps_si512(load_floats(source, g.bf16, p, key + i < g.keys ? mask : 0));
      }
      transpose_16x16(rows);
      const int64_t depths = smaller(kLanes, g.head_dim - p);
      for (int64_t i = 0; i < depths; ++i) _mm512_storeu_si512(target + (p + i) * width, rows[i]);
    }
  }
}

void avx512_f32_attention_pack_v(const AttentionGeometry& g, const AttentionPackArgs& args) {
  float* packed = static_cast<float*>(args.packed);
  const int64_t end = args.end == g.keys ? g.keys_padded : args.end;
  for (int64_t key = args.begin; key < end; ++key) {
    const char* source = static_cast<const char*>(args.source) +
                         smaller(key, g.keys - 1) * args.ld * (g.bf16 ? 2 : 4);
    for (int64_t col = 0; col < g.cols_padded; col += kLanes) {
      const int64_t panel = col / kPanel * kPanel;
      const int64_t width = smaller(kPanel, g.cols_padded - panel);
      const __mmask16 mask =
          key < g.keys ? first_lanes(g.head_dim - col) : static_cast<__mmask16>(0);
      _mm512_storeu_ps(packed + panel * g.keys_padded + key * width + (col - panel),
                       load_floats(source, g.bf16, col, mask));
    }
  }
}

void avx512_attention_exp2(const float* x, float* out, int64_t count) {
  for (int64_t i = 0; i < count; i += kLanes) {
    const __mmask16 mask = first_lanes(count - i);
    _mm512_mask_storeu_ps(out + i, mask, exp2_nonpositive(_mm512_maskz_loadu_ps(mask, x + i)));
  }
}

}  // namespace intaglio
