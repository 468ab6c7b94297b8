// Float matrix kernel for AVX2 and FMA.
//
// Registers: 6 x 16 sums (12 vectors), two vectors of the panel, one broadcast. Panel: sub-panels
// of 16 columns, each [k][16] floats.
#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "ops/cpu/float_gemm_kernels.h"

namespace intaglio::cpu {
namespace {

constexpr int64_t kColumns = 16;

float widen(uint16_t x) {
  const uint32_t u = static_cast<uint32_t>(x) << 16;
  float y;
  std::memcpy(&y, &u, sizeof(y));
  return y;
}

__m256 widen_8(const uint16_t* p) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(
      _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), 16));
}

// Rounds to nearest even; NaN stays NaN.
uint16_t narrow(float x) {
  uint32_t u;
  std::memcpy(&u, &x, sizeof(u));
  if ((u & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((u >> 16) | 0x40u);
  return static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

void narrow_8(__m256 x, uint16_t* p) {
  const __m256i u = _mm256_castps_si256(x);
  const __m256i high = _mm256_srli_epi32(u, 16);
  const __m256i odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
  const __m256i rounded =
      _mm256_srli_epi32(_mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
  const __m256i words =
      _mm256_blendv_epi8(rounded, _mm256_or_si256(high, _mm256_set1_epi32(0x40)), nan);
  const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(words, words), 0x08);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(packed));
}

__m256i mask_8(int64_t count) {
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count < 0   ? 0
                                                               : count > 8 ? 8
                                                                           : count)),
                            lanes);
}

// Adds and stores up to 8 sums.
void store(const FloatGemmBlock& g, int64_t row, int64_t column, int64_t count, __m256 y) {
  const int64_t out_at = row * g.ld_out + column;
  const int64_t add_at = row * g.ld_add + column;
  if (g.bf16_out) {
    auto* out = static_cast<uint16_t*>(g.out) + out_at;
    const auto* add = g.add != nullptr ? static_cast<const uint16_t*>(g.add) + add_at : nullptr;
    if (count >= 8) {
      if (add != nullptr) y = _mm256_add_ps(y, widen_8(add));
      narrow_8(y, out);
      return;
    }
    float values[8];
    _mm256_storeu_ps(values, y);
    for (int64_t i = 0; i < count; ++i)
      out[i] = narrow(add != nullptr ? values[i] + widen(add[i]) : values[i]);
    return;
  }
  const __m256i mask = mask_8(count);
  if (g.add != nullptr)
    y = _mm256_add_ps(y, _mm256_maskload_ps(static_cast<const float*>(g.add) + add_at, mask));
  _mm256_maskstore_ps(static_cast<float*>(g.out) + out_at, mask, y);
}

template <int kRows>
void multiply_tile(const FloatGemmBlock& g, int64_t row, int64_t column) {
  const float* a = static_cast<const float*>(g.a) + row * g.lda;
  const float* panel = static_cast<const float*>(g.panel) + column * g.k * g.segments;
  const int64_t count = g.n - column;
  const __m256i mask0 = mask_8(count);
  const __m256i mask1 = mask_8(count - 8);
  __m256 sum[kRows][2];
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i) {
    const float* start = g.sums != nullptr ? g.sums + (row + i) * g.ld_sums : g.bias;
    sum[i][0] = start != nullptr ? _mm256_maskload_ps(start + column, mask0) : _mm256_setzero_ps();
    sum[i][1] =
        start != nullptr ? _mm256_maskload_ps(start + column + 8, mask1) : _mm256_setzero_ps();
  }
  for (int64_t segment = 0; segment < g.segments; ++segment) {
    const float* p = a + segment * g.segment_stride;
    for (int64_t c = 0; c < g.k; ++c) {
      const __m256 b0 = _mm256_loadu_ps(panel);
      const __m256 b1 = _mm256_loadu_ps(panel + 8);
      panel += kColumns;
#pragma GCC unroll 6
      for (int i = 0; i < kRows; ++i) {
        const __m256 x = _mm256_broadcast_ss(p + i * g.lda);
        sum[i][0] = _mm256_fmadd_ps(x, b0, sum[i][0]);
        sum[i][1] = _mm256_fmadd_ps(x, b1, sum[i][1]);
      }
      ++p;
    }
  }
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i) {
    store(g, row + i, column, count, sum[i][0]);
    if (count > 8) store(g, row + i, column + 8, count - 8, sum[i][1]);
  }
}

void block(const FloatGemmBlock& g) {
  for (int64_t column = 0; column < g.n; column += kColumns) {
    int64_t row = 0;
    for (; row + 6 <= g.m; row += 6) multiply_tile<6>(g, row, column);
    for (; row + 4 <= g.m; row += 4) multiply_tile<4>(g, row, column);
    for (; row + 2 <= g.m; row += 2) multiply_tile<2>(g, row, column);
    for (; row < g.m; ++row) multiply_tile<1>(g, row, column);
  }
}

// r[i] float j -> r[j] float i.
void transpose_8x8(__m256 r[8]) {
  __m256 t[8];
  for (int i = 0; i < 4; ++i) {
    t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
  }
  __m256 u[8];
  for (int i = 0; i < 2; ++i) {
    u[4 * i] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44);
    u[4 * i + 1] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0xee);
    u[4 * i + 2] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
    u[4 * i + 3] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xee);
  }
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x20);
    r[i + 4] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x31);
  }
}

void pack(const void* w, bool w_bf16, int64_t ldw, int64_t n, int64_t k, void* panel) {
  const auto* floats = static_cast<const float*>(w);
  const auto* halves = static_cast<const uint16_t*>(w);
  for (int64_t column = 0; column < n; column += 8) {
    float* target =
        static_cast<float*>(panel) + column / kColumns * kColumns * k + column % kColumns;
    int64_t c = 0;
    if (column + 8 <= n) {
      for (; c + 8 <= k; c += 8) {
        __m256 r[8];
        for (int64_t i = 0; i < 8; ++i) {
          const int64_t at = (column + i) * ldw + c;
          r[i] = w_bf16 ? widen_8(halves + at) : _mm256_loadu_ps(floats + at);
        }
        transpose_8x8(r);
        for (int64_t j = 0; j < 8; ++j) _mm256_storeu_ps(target + (c + j) * kColumns, r[j]);
      }
    }
    for (; c < k; ++c) {
      for (int64_t i = 0; i < 8; ++i) {
        const int64_t at = (column + i) * ldw + c;
        target[c * kColumns + i] = column + i >= n ? 0.0f : w_bf16 ? widen(halves[at]) : floats[at];
      }
    }
  }
  if (n % kColumns != 0 && n % kColumns <= 8) {  // the second half of the last sub-panel
    float* target = static_cast<float*>(panel) + n / kColumns * kColumns * k + 8;
    for (int64_t c = 0; c < k; ++c) _mm256_storeu_ps(target + c * kColumns, _mm256_setzero_ps());
  }
}

float sum_8(__m256 x) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

template <bool kBf16>
__m256 load_8(const void* p, int64_t at) {
  if constexpr (kBf16) {
    return widen_8(static_cast<const uint16_t*>(p) + at);
  } else {
    return _mm256_loadu_ps(static_cast<const float*>(p) + at);
  }
}

template <bool kBf16>
float load_1(const void* p, int64_t at) {
  if constexpr (kBf16) {
    return widen(static_cast<const uint16_t*>(p)[at]);
  } else {
    return static_cast<const float*>(p)[at];
  }
}

// kRows rows of a against two rows of w at a time.
template <bool kBf16, int kRows>
void dot_tile(const FloatDotBlock& g, int64_t row, int64_t n0, int64_t columns) {
  const int64_t w0 = n0 * g.k;
  const int64_t w1 = (n0 + columns - 1) * g.k;
  __m256 sum[kRows][2];
  for (auto& line : sum) line[0] = line[1] = _mm256_setzero_ps();
  int64_t c = 0;
  for (; c + 8 <= g.k; c += 8) {
    const __m256 b0 = load_8<kBf16>(g.w, w0 + c);
    const __m256 b1 = load_8<kBf16>(g.w, w1 + c);
    for (int i = 0; i < kRows; ++i) {
      const __m256 x = load_8<kBf16>(g.a, (row + i) * g.lda + c);
      sum[i][0] = _mm256_fmadd_ps(x, b0, sum[i][0]);
      sum[i][1] = _mm256_fmadd_ps(x, b1, sum[i][1]);
    }
  }
  // Constant bounds here keep the sums in registers above.
  float total[kRows][2];
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < 2; ++j) total[i][j] = sum_8(sum[i][j]);
  }
  for (int i = 0; i < kRows; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      float y = total[i][j];
      for (int64_t tail = c; tail < g.k; ++tail) {
        y += load_1<kBf16>(g.a, (row + i) * g.lda + tail) *
             load_1<kBf16>(g.w, (n0 + j) * g.k + tail);
      }
      if (g.bias != nullptr) y += g.bias[n0 + j];
      const int64_t at = (row + i) * g.ld_out + n0 + j;
      if (g.bf16_out) {
        static_cast<uint16_t*>(g.out)[at] = narrow(y);
      } else {
        static_cast<float*>(g.out)[at] = y;
      }
    }
  }
}

template <bool kBf16>
void dot_rows(const FloatDotBlock& g) {
  for (int64_t n0 = 0; n0 < g.n; n0 += 2) {
    const int64_t columns = g.n - n0 < 2 ? g.n - n0 : 2;
    int64_t row = 0;
    for (; row + 4 <= g.m; row += 4) dot_tile<kBf16, 4>(g, row, n0, columns);
    for (; row < g.m; ++row) dot_tile<kBf16, 1>(g, row, n0, columns);
  }
}

void dot(const FloatDotBlock& g) {
  if (g.bf16_in) {
    dot_rows<true>(g);
  } else {
    dot_rows<false>(g);
  }
}

}  // namespace

const FloatGemmKernels kAvx2FloatGemm{.bf16 = false, .block = block, .pack = pack, .dot = dot};

}  // namespace intaglio::cpu
