// Attention in float32 with AVX2 and FMA; bf16 buffers are widened when they are packed.
//
// Both products run on one register tile of 6 rows x 16 columns (12 accumulators, 2 vectors of the
// right operand, 1 broadcast):
//   scores[6, 16 keys] = q[6, depth] k[depth, 16 keys];   sums[6, 16 columns] = factor * sums +
//   weights[6, keys] v[keys, 16 columns]
// A block is 48 query rows and 128 keys; panels of packed k and v are 16 wide.
#include <immintrin.h>

#include <cstdint>

#include "ops/cpu/attention_kernels.h"

namespace intaglio {
namespace {

constexpr int64_t kLanes = 8;
constexpr int64_t kPanel = 16;
constexpr int64_t kTileRows = 6;
constexpr int64_t kBlockRows = 48;
constexpr int64_t kBlockKeys = 128;

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// All ones in the first `count` lanes.
inline __m256i first_lanes(int64_t count) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(
      _mm256_set1_epi32(static_cast<int>(count < 0 ? 0 : smaller(count, kLanes))), lane);
}

// `count` floats of a row of F32 or BF16 elements; the other lanes are zero.
inline __m256 load_floats(const void* row, bool bf16, int64_t index, int64_t count) {
  if (!bf16) {
    const float* x = static_cast<const float*>(row) + index;
    return count >= kLanes ? _mm256_loadu_ps(x) : _mm256_maskload_ps(x, first_lanes(count));
  }
  const uint16_t* x = static_cast<const uint16_t*>(row) + index;
  alignas(16) uint16_t tail[kLanes] = {};
  if (count < kLanes) {
    for (int64_t i = 0; i < count; ++i) tail[i] = x[i];
    x = tail;
  }
  const __m128i raw = _mm_loadu_si128(reinterpret_cast<const __m128i*>(x));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(raw), 16));
}

// To bf16, nearest even, NaN kept: the rounding of BFloat16.
inline __m128i to_bf16(__m256 x) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x00400000));
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
  const __m256i high = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16);
  return _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
}

inline void store_floats(void* row, bool bf16, int64_t index, int64_t count, __m256 x) {
  if (!bf16) {
    float* target = static_cast<float*>(row) + index;
    if (count >= kLanes) {
      _mm256_storeu_ps(target, x);
    } else {
      _mm256_maskstore_ps(target, first_lanes(count), x);
    }
    return;
  }
  uint16_t* target = static_cast<uint16_t*>(row) + index;
  alignas(16) uint16_t words[kLanes];
  _mm_store_si128(reinterpret_cast<__m128i*>(words), to_bf16(x));
  for (int64_t i = 0; i < smaller(count, kLanes); ++i) target[i] = words[i];
}

// 2^x for x <= 0. x = n + f with |f| <= 1/2; 2^f = 1 + f q(f), q of degree 5 through the Chebyshev
// nodes (error 1e-8, under rounding). Results below the normal range are 0, so no denormal reaches
// the products; NaN stays NaN (its n converts to 2^31, shifted out).
inline __m256 exp2_nonpositive(__m256 x) {
  const __m256 n = _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m256 f = _mm256_sub_ps(x, n);
  __m256 q = _mm256_set1_ps(1.545316295e-04f);
  q = _mm256_fmadd_ps(q, f, _mm256_set1_ps(1.339086336e-03f));
  q = _mm256_fmadd_ps(q, f, _mm256_set1_ps(9.618082557e-03f));
  q = _mm256_fmadd_ps(q, f, _mm256_set1_ps(5.550357114e-02f));
  q = _mm256_fmadd_ps(q, f, _mm256_set1_ps(2.402265076e-01f));
  q = _mm256_fmadd_ps(q, f, _mm256_set1_ps(6.931471880e-01f));
  q = _mm256_fmadd_ps(q, f, _mm256_set1_ps(1.0f));
  const __m256i exponent = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
  const __m256 power = _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(q), exponent));
  return _mm256_and_ps(power, _mm256_cmp_ps(x, _mm256_set1_ps(-126.0f), _CMP_NLT_UQ));
}

inline float reduce_max(__m256 x) {
  __m128 m = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  m = _mm_max_ps(m, _mm_movehl_ps(m, m));
  return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

inline float reduce_add(__m256 x) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

struct TileArgs {
  const float* a;  // [6, depth], row stride lda
  int64_t lda;
  const float* b;  // [depth, 16]
  int64_t depth;
  float* c;  // [6, 16], row stride ldc
  int64_t ldc;
  const float* factor;  // c = factor[row] * c + a b; nullptr: c = a b
};

void multiply_tile(const TileArgs& t) {
  __m256 sum[kTileRows][2];
#pragma GCC unroll 6
  for (int r = 0; r < kTileRows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v) {
      sum[r][v] = t.factor == nullptr
                      ? _mm256_setzero_ps()
                      : _mm256_mul_ps(_mm256_set1_ps(t.factor[r]),
                                      _mm256_loadu_ps(t.c + r * t.ldc + v * kLanes));
    }
  }
  const float* a0 = t.a;
  const float* a3 = t.a + 3 * t.lda;
  const float* b = t.b;
  const int64_t lda = t.lda;
  for (int64_t p = 0; p < t.depth; ++p, ++a0, ++a3, b += kPanel) {
    const __m256 right0 = _mm256_loadu_ps(b);
    const __m256 right1 = _mm256_loadu_ps(b + kLanes);
#pragma GCC unroll 3
    for (int r = 0; r < 3; ++r) {
      const __m256 left = _mm256_broadcast_ss(a0 + r * lda);
      sum[r][0] = _mm256_fmadd_ps(left, right0, sum[r][0]);
      sum[r][1] = _mm256_fmadd_ps(left, right1, sum[r][1]);
    }
#pragma GCC unroll 3
    for (int r = 0; r < 3; ++r) {
      const __m256 left = _mm256_broadcast_ss(a3 + r * lda);
      sum[r + 3][0] = _mm256_fmadd_ps(left, right0, sum[r + 3][0]);
      sum[r + 3][1] = _mm256_fmadd_ps(left, right1, sum[r + 3][1]);
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < kTileRows; ++r) {
    _mm256_storeu_ps(t.c + r * t.ldc, sum[r][0]);
    _mm256_storeu_ps(t.c + r * t.ldc + kLanes, sum[r][1]);
  }
}

// One row of a block: scores become weights exp(score - largest). Keys from `valid` on are hidden:
// their weight is 0.
void soften_row(float* scores, int64_t valid, int64_t count, float scale_log2, float* state) {
  for (int64_t s = valid < 0 ? 0 : valid; s < count; ++s) scores[s] = -__builtin_inff();
  __m256 most = _mm256_loadu_ps(scores);
  for (int64_t s = kLanes; s < count; s += kLanes)
    most = _mm256_max_ps(most, _mm256_loadu_ps(scores + s));
  const __m256 scale = _mm256_set1_ps(scale_log2);
  const __m256 before = _mm256_set1_ps(*state);
  const __m256 after = _mm256_max_ps(_mm256_set1_ps(reduce_max(most)), before);
  const float factor =
      _mm256_cvtss_f32(exp2_nonpositive(_mm256_mul_ps(_mm256_sub_ps(before, after), scale)));
  __m256 total = _mm256_setzero_ps();
  for (int64_t s = 0; s < count; s += kLanes) {
    const __m256 below = _mm256_sub_ps(_mm256_loadu_ps(scores + s), after);
    const __m256 weight = exp2_nonpositive(_mm256_mul_ps(below, scale));
    total = _mm256_add_ps(total, weight);
    _mm256_storeu_ps(scores + s, weight);
  }
  *state = _mm256_cvtss_f32(after);
  state[kBlockRows] = state[kBlockRows] * factor + reduce_add(total);
  state[2 * kBlockRows] = factor;
}

void load_queries(const AttentionGeometry& g, const AttentionBlockArgs& args, int64_t padded_rows) {
  float* block = static_cast<float*>(args.q_block);
  for (int64_t r = 0; r < padded_rows; ++r) {
    const int64_t token = args.row + smaller(r, args.rows - 1);  // padding rows repeat the last one
    const char* q = static_cast<const char*>(args.q) + token * args.ldq * (g.bf16 ? 2 : 4);
    for (int64_t p = 0; p < g.head_dim; p += kLanes) {
      store_floats(block + r * g.depth_padded, false, p, g.head_dim - p,
                   load_floats(q, g.bf16, p, g.head_dim - p));
    }
  }
}

void write_rows(const AttentionGeometry& g, const AttentionBlockArgs& args) {
  for (int64_t r = 0; r < args.rows; ++r) {
    char* out = static_cast<char*>(args.out) + (args.row + r) * args.ldo * (g.bf16 ? 2 : 4);
    const __m256 inverse = _mm256_set1_ps(1.0f / args.row_state[kBlockRows + r]);
    for (int64_t c = 0; c < g.head_dim; c += kLanes) {
      const __m256 x = _mm256_mul_ps(_mm256_loadu_ps(args.sums + r * g.cols_padded + c), inverse);
      store_floats(out, g.bf16, c, g.head_dim - c, x);
    }
  }
}

inline void transpose_8x8(__m256 r[8]) {
  __m256 t[8];
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4) {
    r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
    r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
    r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
    t[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) r[i] = t[i];
}

}  // namespace

void avx2_f32_attention_block(const AttentionGeometry& g, const AttentionBlockArgs& args) {
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
    const int64_t keys_padded = (keys + kPanel - 1) / kPanel * kPanel;
    for (int64_t s = 0; s < keys_padded; s += kPanel) {
      for (int64_t r = 0; r < padded_rows; r += kTileRows) {
        multiply_tile({q + r * g.depth_padded, g.depth_padded, k + (key + s) * g.depth_padded,
                       g.head_dim, args.scores + r * kBlockKeys + s, kBlockKeys, nullptr});
      }
    }
    for (int64_t r = 0; r < padded_rows; ++r) {
      const int64_t valid = g.causal ? smaller(keys, args.row + r + 1 - key) : keys;
      soften_row(args.scores + r * kBlockKeys, valid, keys_padded, g.scale_log2,
                 args.row_state + r);
    }
    for (int64_t col = 0; col < g.cols_padded; col += kPanel) {
      for (int64_t r = 0; r < padded_rows; r += kTileRows) {
        multiply_tile(
            {args.scores + r * kBlockKeys, kBlockKeys, v + col * g.keys_padded + key * kPanel, keys,
             args.sums + r * g.cols_padded + col, g.cols_padded, key == 0 ? nullptr : factors + r});
      }
    }
  }
  write_rows(g, args);
}

void avx2_f32_attention_pack_k(const AttentionGeometry& g, const AttentionPackArgs& args) {
  float* packed = static_cast<float*>(args.packed);
  const int64_t end = args.end == g.keys ? g.keys_padded : args.end;
  for (int64_t key = args.begin; key < end; key += kLanes) {
    const int64_t panel = key / kPanel * kPanel;
    float* target = packed + panel * g.depth_padded + (key - panel);
    for (int64_t p = 0; p < g.head_dim; p += kLanes) {
      __m256 rows[kLanes];
      for (int64_t i = 0; i < kLanes; ++i) {
        const char* source = static_cast<const char*>(args.source) +
                             smaller(key + i, g.keys - 1) * args.ld * (g.bf16 ? 2 : 4);
        rows[i] =
            key + i < g.keys ? load_floats(source, g.bf16, p, g.head_dim - p) : _mm256_setzero_ps();
      }
      transpose_8x8(rows);
      const int64_t depths = smaller(kLanes, g.head_dim - p);
      for (int64_t i = 0; i < depths; ++i) _mm256_storeu_ps(target + (p + i) * kPanel, rows[i]);
    }
  }
}

void avx2_f32_attention_pack_v(const AttentionGeometry& g, const AttentionPackArgs& args) {
  float* packed = static_cast<float*>(args.packed);
  const int64_t end = args.end == g.keys ? g.keys_padded : args.end;
  for (int64_t key = args.begin; key < end; ++key) {
    const char* source = static_cast<const char*>(args.source) +
                         smaller(key, g.keys - 1) * args.ld * (g.bf16 ? 2 : 4);
    for (int64_t col = 0; col < g.cols_padded; col += kLanes) {
      const int64_t count = key < g.keys ? g.head_dim - col : 0;
      const int64_t panel = col / kPanel * kPanel;
      _mm256_storeu_ps(packed + panel * g.keys_padded + key * kPanel + (col - panel),
                       count > 0 ? load_floats(source, g.bf16, col, count) : _mm256_setzero_ps());
    }
  }
}

void avx2_attention_exp2(const float* x, float* out, int64_t count) {
  for (int64_t i = 0; i < count; i += kLanes) {
    store_floats(out, false, i, count - i, exp2_nonpositive(load_floats(x, false, i, count - i)));
  }
}

}  // namespace intaglio
