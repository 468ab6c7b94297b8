// int8 GEMM tile with AVX512-VNNI: acc[rows][32] (+)= a[rows, k] x w[32, k]^T, rows <= 14.
//
//   vpdpbusd acc, u8, s8:  acc += sum of 4 products u8 * s8, exact in int32 (no saturation)
//   The u8 operand is the weight plus 128, so acc starts from -128 * sum_k a[row, k]: the result is
//   exact modulo 2^32, hence exact.
//
//      w panel, [k/4][32][4] u8                  one step of the loop, 4 k:
//     +--------+--------+                          2 loads of 16 columns x 4 k, 14 broadcasts of 4 activation bytes, 28 vpdpbusd
//     | 16 col | 16 col |                          into 28 accumulators; 31 of 32 registers are in use.
//     +--------+--------+
//   a0 *  acc00    acc01                         28 vpdpbusd (28 cycles at one 512-bit dot a cycle) hide 2 + 14 loads and the step reads only
//   a1 *  acc10    acc11                         128 bytes of weights, so L2 is fast enough for the panel. Few rows (1..3) split k over
//   ..                                           several accumulators a row instead, to cover the latency of the dot.
// Measured on one Zen 4 core (AMD EPYC, peak 467 GOP/s by registers alone): 430 to 450 GOP/s at
// 1024 x 4608 x 4608; bench_s8_gemm --threads 1 --cpu-time.
#include <immintrin.h>

#include <cstdint>

#include "ops/cpu/avx512_s8_epilogue.h"
#include "ops/cpu/s8_gemm_kernels.h"

namespace intaglio {
namespace {

inline __m512i broadcast4(const int8_t* p) {
  int32_t group;
  __builtin_memcpy(&group, p, 4);
  return _mm512_set1_epi32(group);
}

// kSplit groups of k at a time, each into its own accumulators.
template <int kRows, int kSplit>
void tile(const S8Tile& t) {
  constexpr int kStepA = kRows * 4;
  constexpr int kStepW = kS8PanelCols * 4;
  const int8_t* a = static_cast<const int8_t*>(t.a);
  const uint8_t* w = static_cast<const uint8_t*>(t.w);
  __m512i acc[kSplit][kRows][2];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
    if (t.init != nullptr) {
      acc[0][r][0] = acc[0][r][1] = _mm512_set1_epi32(t.init[r]);
    } else {
      acc[0][r][0] = _mm512_load_si512(t.acc + r * kS8PanelCols);
      acc[0][r][1] = _mm512_load_si512(t.acc + r * kS8PanelCols + 16);
    }
#pragma GCC unroll 8
    for (int s = 1; s < kSplit; ++s) acc[s][r][0] = acc[s][r][1] = _mm512_setzero_si512();
  }
  const char* next = static_cast<const char*>(t.prefetch);
  int64_t groups = t.k_groups;
  for (; groups >= kSplit; groups -= kSplit) {
    if constexpr (kSplit == 1) {
      _mm_prefetch(next, _MM_HINT_T1);
      next += 64;
    }
#pragma GCC unroll 8
    for (int s = 0; s < kSplit; ++s) {
      const __m512i w0 = _mm512_loadu_si512(w + s * kStepW);
      const __m512i w1 = _mm512_loadu_si512(w + s * kStepW + 64);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        const __m512i x = broadcast4(a + s * kStepA + r * 4);
        acc[s][r][0] = _mm512_dpbusd_epi32(acc[s][r][0], w0, x);
        acc[s][r][1] = _mm512_dpbusd_epi32(acc[s][r][1], w1, x);
      }
    }
    a += kSplit * kStepA;
    w += kSplit * kStepW;
  }
  if constexpr (kSplit > 1) {
    for (; groups > 0; --groups, a += kStepA, w += kStepW) {
      const __m512i w0 = _mm512_loadu_si512(w);
      const __m512i w1 = _mm512_loadu_si512(w + 64);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        const __m512i x = broadcast4(a + r * 4);
        acc[0][r][0] = _mm512_dpbusd_epi32(acc[0][r][0], w0, x);
        acc[0][r][1] = _mm512_dpbusd_epi32(acc[0][r][1], w1, x);
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int s = 1; s < kSplit; ++s) {
      acc[0][r][0] = _mm512_add_epi32(acc[0][r][0], acc[s][r][0]);
      acc[0][r][1] = _mm512_add_epi32(acc[0][r][1], acc[s][r][1]);
    }
    _mm512_store_si512(t.acc + r * kS8PanelCols, acc[0][r][0]);
    _mm512_store_si512(t.acc + r * kS8PanelCols + 16, acc[0][r][1]);
  }
}

// x[r] lane c <-> x[c] lane r of 16 x 16 32-bit values: pairs, then quads inside the 128-bit lanes,
// then the lanes.
inline void transpose16(__m512i x[16]) {
  __m512i y[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; i += 4) {
    const __m512i a0 = _mm512_unpacklo_epi32(x[i], x[i + 1]);
    const __m512i a1 = _mm512_unpackhi_epi32(x[i], x[i + 1]);
    const __m512i b0 = _mm512_unpacklo_epi32(x[i + 2], x[i + 3]);
    const __m512i b1 = _mm512_unpackhi_epi32(x[i + 2], x[i + 3]);
    // y[i + j]: rows i..i+3 of columns j, 4 + j, 8 + j, 12 + j.
    y[i] = _mm512_unpacklo_epi64(a0, b0);
    y[i + 1] = _mm512_unpackhi_epi64(a0, b0);
    y[i + 2] = _mm512_unpacklo_epi64(a1, b1);
    y[i + 3] = _mm512_unpackhi_epi64(a1, b1);
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m512i even01 =
        _mm512_shuffle_i32x4(y[j], y[4 + j], 0x88);  // columns j and 8 + j of rows 0..7
    const __m512i odd01 = _mm512_shuffle_i32x4(y[j], y[4 + j], 0xdd);  // columns 4 + j and 12 + j
    const __m512i even23 =
        _mm512_shuffle_i32x4(y[8 + j], y[12 + j], 0x88);  // the same of rows 8..15
    const __m512i odd23 = _mm512_shuffle_i32x4(y[8 + j], y[12 + j], 0xdd);
    x[j] = _mm512_shuffle_i32x4(even01, even23, 0x88);
    x[8 + j] = _mm512_shuffle_i32x4(even01, even23, 0xdd);
    x[4 + j] = _mm512_shuffle_i32x4(odd01, odd23, 0x88);
    x[12 + j] = _mm512_shuffle_i32x4(odd01, odd23, 0xdd);
  }
}

using TileFunction = void (*)(const S8Tile&);
constexpr TileFunction kTiles[kVnniTileRows + 1] = {
    nullptr,     tile<1, 8>,  tile<2, 4>,  tile<3, 2>,  tile<4, 2>,
    tile<5, 1>,  tile<6, 1>,  tile<7, 1>,  tile<8, 1>,  tile<9, 1>,
    tile<10, 1>, tile<11, 1>, tile<12, 1>, tile<13, 1>, tile<14, 1>};

}  // namespace

void avx512vnni_s8_tile(const S8Tile& t) { kTiles[t.rows](t); }

void avx512vnni_s8_pack_rows(const int8_t* a, int64_t lda, int rows, int64_t k, int8_t* packed,
                             int32_t* init_row) {
  const __m512i ones = _mm512_set1_epi8(1);
  alignas(64) int32_t sums[16] = {};
  for (int64_t i = 0; i < k; i += 64) {
    const int64_t left = k - i;
    const __mmask64 mask = left >= 64 ? ~uint64_t{0} : (uint64_t{1} << left) - 1;
    // Rows of 16 groups in, columns (= groups) of up to 16 rows out.
    __m512i x[16];
    for (int r = 0; r < 16; ++r) {
      x[r] = r < rows ? _mm512_maskz_loadu_epi8(mask, a + r * lda + i) : _mm512_setzero_si512();
    }
    transpose16(x);
    __m512i sum = _mm512_load_si512(sums);
    for (int g = 0; g < 16; ++g) sum = _mm512_dpbusd_epi32(sum, ones, x[g]);
    _mm512_store_si512(sums, sum);
    const int count = left >= 64 ? 16 : static_cast<int>((left + 3) / 4);
    const __mmask16 lanes = static_cast<__mmask16>((1u << rows) - 1);
    int8_t* out = packed + i * rows;
    for (int g = 0; g < count; ++g) _mm512_mask_storeu_epi32(out + g * rows * 4, lanes, x[g]);
  }
  for (int r = 0; r < rows; ++r)
    init_row[r] = static_cast<int32_t>(-128 * static_cast<int64_t>(sums[r]));
}

void avx512_s8_epilogue(const S8Epilogue& epilogue, const int32_t* acc, int64_t row0, int64_t rows,
                        int64_t col0) {
  const Avx512Columns columns = avx512_columns(epilogue, col0);
  for (int64_t r = 0; r < rows; ++r)
    avx512_epilogue_row(epilogue, columns, acc + r * kS8PanelCols, row0 + r, col0);
}

}  // namespace intaglio
