// int8 GEMM tile with AVX2: acc[rows][32] (+)= a[rows, k] x w[32, k]^T, rows <= 6.
//
//   vpmovsxbw w16, w8;  vpmaddwd t, w16, a16;  vpaddd acc, acc, t       exact: |pair sum| <= 2 * 128 * 128 fits int32 with room
// vpmaddubsw (u8 x s8) would saturate its 16-bit pair sums on full-range operands, so it is not
// used.
//
//   w panel: 2 halves of [k/2][16][2] s8           one step of the loop, 2 k, one half:
//     +-------+-------+                              2 widening loads of 8 columns x 2 k, a broadcast of 2 s16 activations a row, and
//     | 8 col | 8 col |                              12 multiply-adds + 12 adds into 12 accumulators; 16 of 16 registers are in use.
//     +-------+-------+
#include <immintrin.h>

#include <cstdint>

#include "ops/cpu/avx2/activation_avx2.h"
#include "ops/cpu/s8_gemm_kernels.h"

namespace intaglio {
namespace {

constexpr int kHalfCols = 16;

inline __m256i widen(const int8_t* p) {
  return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

template <int kRows>
void half_tile(const S8Tile& t, int half) {
  const int8_t* w = static_cast<const int8_t*>(t.w) + half * (t.panel_bytes / 2);
  const int8_t* a = static_cast<const int8_t*>(t.a);
  int32_t* const out = t.acc + half * kHalfCols;
  __m256i acc[kRows][2];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    if (t.init != nullptr) {
      acc[r][0] = acc[r][1] = _mm256_set1_epi32(t.init[r]);
    } else {
      acc[r][0] = _mm256_load_si256(reinterpret_cast<const __m256i*>(out + r * kS8PanelCols));
      acc[r][1] = _mm256_load_si256(reinterpret_cast<const __m256i*>(out + r * kS8PanelCols + 8));
    }
  }
  for (int64_t g = 0; g < t.k_groups; ++g) {
    const __m256i w0 = widen(w);
    const __m256i w1 = widen(w + 16);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      int32_t pair;
      __builtin_memcpy(&pair, a + r * 4, 4);
      const __m256i x = _mm256_set1_epi32(pair);
      acc[r][0] = _mm256_add_epi32(acc[r][0], _mm256_madd_epi16(w0, x));
      acc[r][1] = _mm256_add_epi32(acc[r][1], _mm256_madd_epi16(w1, x));
    }
    w += 2 * kHalfCols;
    a += 4 * kRows;
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(out + r * kS8PanelCols), acc[r][0]);
    _mm256_store_si256(reinterpret_cast<__m256i*>(out + r * kS8PanelCols + 8), acc[r][1]);
  }
}

template <int kRows>
void tile(const S8Tile& t) {
  half_tile<kRows>(t, 0);
  half_tile<kRows>(t, 1);
}

using TileFunction = void (*)(const S8Tile&);
constexpr TileFunction kTiles[kAvx2TileRows + 1] = {nullptr, tile<1>, tile<2>, tile<3>,
                                                    tile<4>, tile<5>, tile<6>};

inline __m128i to_bf16(__m256 value) {
  const __m256i bits = _mm256_castps_si256(value);
  const __m256i high = _mm256_srli_epi32(bits, 16);
  const __m256i odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_srli_epi32(
      _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(value, value, _CMP_UNORD_Q));
  const __m256i result =
      _mm256_blendv_epi8(rounded, _mm256_or_si256(high, _mm256_set1_epi32(0x40)), nan);
  return _mm_packus_epi32(_mm256_castsi256_si128(result), _mm256_extracti128_si256(result, 1));
}

// Writes the first `count` (1..8) of 8 values.
void store8(const S8Epilogue& e, int64_t row, int64_t col, int64_t count, __m256 value) {
  if (e.out_type == DType::kBF16) {
    uint16_t* out = static_cast<uint16_t*>(e.out) + row * e.ldo + col;
    if (count == 8) return _mm_storeu_si128(reinterpret_cast<__m128i*>(out), to_bf16(value));
    alignas(16) uint16_t lanes[8];
    _mm_store_si128(reinterpret_cast<__m128i*>(lanes), to_bf16(value));
    __builtin_memcpy(out, lanes, static_cast<size_t>(count) * 2);
  } else {
    float* out = static_cast<float*>(e.out) + row * e.ldo + col;
    if (count == 8) return _mm256_storeu_ps(out, value);
    alignas(32) float lanes[8];
    _mm256_store_ps(lanes, value);
    __builtin_memcpy(out, lanes, static_cast<size_t>(count) * 4);
  }
}

// A column operand, zero beyond n.
inline __m256 load_columns(const float* p, int64_t count) {
  if (count >= 8) return _mm256_loadu_ps(p);
  alignas(32) float lanes[8] = {};
  for (int64_t i = 0; i < count; ++i) lanes[i] = p[i];
  return _mm256_load_ps(lanes);
}

inline __m256 dequantize8(const S8Epilogue& e, const int32_t* acc, __m256 a_scale, int64_t col,
                          int64_t count) {
  const __m256 sums = _mm256_cvtepi32_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(acc)));
  const __m256 y =
      _mm256_mul_ps(sums, _mm256_mul_ps(a_scale, load_columns(e.w_scale_col + col, count)));
  return e.bias == nullptr ? y : _mm256_add_ps(y, load_columns(e.bias + col, count));
}

void epilogue_row(const S8Epilogue& e, const int32_t* acc, int64_t row, int64_t col0) {
  const int64_t cols = e.n - col0 < kS8PanelCols ? e.n - col0 : kS8PanelCols;
  if (e.out_type == DType::kI32) {
    __builtin_memcpy(static_cast<int32_t*>(e.out) + row * e.ldo + col0, acc,
                     static_cast<size_t>(cols) * 4);
    return;
  }
  const __m256 a_scale = _mm256_set1_ps(e.a_scale_row[row]);
  visit_epilogue(e.epilogue, [&](auto epilogue) {
    using Epilogue = decltype(epilogue);
    constexpr typename Epilogue::Function kFunction;
    if constexpr (Epilogue::kGated) {
      for (int c = 0; c < kHalfCols; c += 8) {
        const __m256 gate = dequantize8(e, acc + c, a_scale, col0 + c, 8);
        const __m256 up = dequantize8(e, acc + kHalfCols + c, a_scale, col0 + kHalfCols + c, 8);
        store8(e, row, col0 / 2 + c, 8, _mm256_mul_ps(activate<Avx2Math>(kFunction, gate), up));
      }
    } else {
      for (int64_t c = 0; c < cols; c += 8) {
        const int64_t count = cols - c < 8 ? cols - c : 8;
        const __m256 y = dequantize8(e, acc + c, a_scale, col0 + c, count);
        store8(e, row, col0 + c, count, activate<Avx2Math>(kFunction, y));
      }
    }
  });
}

}  // namespace

void avx2_s8_tile(const S8Tile& t) { kTiles[t.rows](t); }

void avx2_s8_pack_rows(const int8_t* a, int64_t lda, int rows, int64_t k, int8_t* packed,
                       int32_t* init_row) {
  int16_t* const target = reinterpret_cast<int16_t*>(packed);
  for (int r = 0; r < rows; ++r) {
    const int8_t* row = a + r * lda;
    init_row[r] = 0;
    int64_t i = 0;
    for (; i + 16 <= k; i += 16) {
      alignas(32) int32_t pairs[8];
      _mm256_store_si256(reinterpret_cast<__m256i*>(pairs), widen(row + i));
      int8_t* out = packed + (i / 2 * rows + r) * 4;
      for (int64_t g = 0; g < 8; ++g) __builtin_memcpy(out + g * rows * 4, pairs + g, 4);
    }
    for (; i + 1 < k; i += 2) {
      int16_t* pair = target + (i / 2 * rows + r) * 2;
      pair[0] = row[i];
      pair[1] = row[i + 1];
    }
    if (k % 2 != 0) {
      int16_t* pair = target + (k / 2 * rows + r) * 2;
      pair[0] = row[k - 1];
      pair[1] = 0;
    }
  }
}

void avx2_s8_epilogue(const S8Epilogue& epilogue, const int32_t* acc, int64_t row0, int64_t rows,
                      int64_t col0) {
  for (int64_t r = 0; r < rows; ++r) epilogue_row(epilogue, acc + r * kS8PanelCols, row0 + r, col0);
}

}  // namespace intaglio
