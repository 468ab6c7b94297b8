// The AVX-512 float matrix kernel, shared by the float and the bf16 build of it. Include it only
// from files of those folders.
//
// Registers: a tile of kRows x (16 * kVectors) sums, kVectors vectors of the panel, one broadcast
// element of `a`: 6 x 64 for full panels, so a step loads 4 vectors and 6 scalars for 24
// multiply-adds. A step is one dword of k: a float, or a pair of bf16. Panel: [step][16 * kVectors]
// dwords.
#pragma once

// g++ 12 takes the deliberately undefined pass-through operands of its own intrinsics for mistakes.
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "ops/cpu/float_gemm_kernels.h"

namespace intaglio::cpu {
namespace {

inline __mmask16 head_mask(int64_t count) {
  return count >= 16  ? __mmask16(0xffff)
         : count <= 0 ? __mmask16(0)
                      : static_cast<__mmask16>((1u << count) - 1u);
}

inline __m512 widen_bf16(__m256i x) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}

// Rounds to nearest even; NaN stays NaN.
inline __m256i narrow_bf16(__m512 x) {
  const __m512i u = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
  __m512i rounded =
      _mm512_srli_epi32(_mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
  const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  rounded = _mm512_mask_or_epi32(rounded, nan, _mm512_srli_epi32(u, 16), _mm512_set1_epi32(0x40));
  return _mm512_cvtepi32_epi16(rounded);
}

inline uint16_t narrow_bf16(float x) {
  return static_cast<uint16_t>(_mm256_extract_epi16(narrow_bf16(_mm512_set1_ps(x)), 0));
}

// Dwords of a row are read at any alignment: rows of odd length put them at odd places.
inline __m512i broadcast_dword(const char* p) {
  int32_t x;
  std::memcpy(&x, p, sizeof(x));
  return _mm512_set1_epi32(x);
}

inline __m512i broadcast_half_dword(const char* p) {
  uint16_t x;
  std::memcpy(&x, p, sizeof(x));
  return _mm512_set1_epi32(x);
}

template <typename Element, int kRows, int kVectors>
inline void multiply_tile(const FloatGemmBlock& g, int64_t row) {
  constexpr int64_t kSize = Element::kSize;
  const int64_t stride = g.lda * kSize;
  const int64_t stride3 = stride * 3;
  const char* a = static_cast<const char*>(g.a) + row * stride;
  const char* panel = static_cast<const char*>(g.panel);
  const __mmask16 last_mask = head_mask(g.n - 16 * (kVectors - 1));

  __m512 sum[kRows][kVectors];
  for (int v = 0; v < kVectors; ++v) {
    const __mmask16 mask = v + 1 == kVectors ? last_mask : __mmask16(0xffff);
    const __m512 start =
        g.bias != nullptr ? _mm512_maskz_loadu_ps(mask, g.bias + 16 * v) : _mm512_setzero_ps();
    for (int i = 0; i < kRows; ++i) {
      sum[i][v] = g.sums != nullptr
                      ? _mm512_maskz_loadu_ps(mask, g.sums + (row + i) * g.ld_sums + 16 * v)
                      : start;
    }
  }

  const int64_t steps = g.k * kSize / 4;
  for (int64_t segment = 0; segment < g.segments; ++segment) {
    const char* p = a + segment * g.segment_stride * kSize;
    for (int64_t s = 0; s < steps; s += 16) {
      // One line of each row of the next tile: with many rows in flight the hardware does not fetch
      // them ahead.
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) _mm_prefetch(p + (kRows + i) * stride, _MM_HINT_T0);
      const int64_t count = steps - s < 16 ? steps - s : 16;
      for (int64_t j = 0; j < count; ++j) {
        __m512i b[kVectors];
        for (int v = 0; v < kVectors; ++v) b[v] = _mm512_loadu_si512(panel + 64 * v);
        panel += 64 * kVectors;
#pragma GCC unroll 16
        for (int i = 0; i < kRows; ++i) {
          // Four rows to a base pointer keep every address within one addressing mode.
          const char* base = p + (i / 4) * 4 * stride;
          const int r = i % 4;
          const __m512i x = broadcast_dword(r == 0   ? base
                                            : r == 1 ? base + stride
                                            : r == 2 ? base + 2 * stride
                                                     : base + stride3);
          for (int v = 0; v < kVectors; ++v) sum[i][v] = Element::multiply_add(sum[i][v], x, b[v]);
        }
        p += 4;
      }
    }
    if (kSize == 2 && g.k % 2 != 0) {
      for (int i = 0; i < kRows; ++i) {
        const __m512i x = broadcast_half_dword(p + i * stride);
        for (int v = 0; v < kVectors; ++v) {
          sum[i][v] = Element::multiply_add(sum[i][v], x, _mm512_loadu_si512(panel + 64 * v));
        }
      }
      panel += 64 * kVectors;
    }
  }

  for (int i = 0; i < kRows; ++i) {
    for (int v = 0; v < kVectors; ++v) {
      const __mmask16 mask = v + 1 == kVectors ? last_mask : __mmask16(0xffff);
      const int64_t out_at = (row + i) * g.ld_out + 16 * v;
      const int64_t add_at = (row + i) * g.ld_add + 16 * v;
      __m512 y = sum[i][v];
      if (g.bf16_out) {
        if (g.add != nullptr) {
          y = _mm512_add_ps(y, widen_bf16(_mm256_maskz_loadu_epi16(
                                   mask, static_cast<const uint16_t*>(g.add) + add_at)));
        }
        _mm256_mask_storeu_epi16(static_cast<uint16_t*>(g.out) + out_at, mask, narrow_bf16(y));
      } else {
        if (g.add != nullptr)
          y = _mm512_add_ps(y,
                            _mm512_maskz_loadu_ps(mask, static_cast<const float*>(g.add) + add_at));
        _mm512_mask_storeu_ps(static_cast<float*>(g.out) + out_at, mask, y);
      }
    }
  }
}

// All rows of a block: full tiles, then tails of halving height.
template <typename Element, int kRows, int kVectors>
inline int64_t multiply_rows(const FloatGemmBlock& g, int64_t row) {
  for (; row + kRows <= g.m; row += kRows) multiply_tile<Element, kRows, kVectors>(g, row);
  return row;
}

template <typename Element, int kRows, int kVectors>
inline void multiply_columns(const FloatGemmBlock& g) {
  int64_t row = multiply_rows<Element, kRows, kVectors>(g, 0);
  if constexpr (kRows > 8) row = multiply_rows<Element, 8, kVectors>(g, row);
  if constexpr (kRows > 4) row = multiply_rows<Element, 4, kVectors>(g, row);
  row = multiply_rows<Element, 2, kVectors>(g, row);
  multiply_rows<Element, 1, kVectors>(g, row);
}

template <typename Element>
inline void multiply_block(const FloatGemmBlock& g) {
  switch ((g.n + 15) / 16) {
    case 1:
      multiply_columns<Element, 12, 1>(g);
      break;
    case 2:
      multiply_columns<Element, 12, 2>(g);
      break;
    case 3:
      multiply_columns<Element, 8, 3>(g);
      break;
    default:
      multiply_columns<Element, 6, 4>(g);
      break;
  }
}

// Rows become columns: r[i] dword j -> r[j] dword i.
inline void transpose_16x16(__m512i r[16]) {
  __m512i t[16];
  for (int i = 0; i < 8; ++i) {
    t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
  }
  for (int i = 0; i < 4; ++i) {
    r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
    r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
  }
  // r[4 q + c] holds, in 128-bit lane l, column 4 l + c of rows 4 q .. 4 q + 3.
  for (int c = 0; c < 4; ++c) {
    const __m512i lo01 = _mm512_shuffle_i32x4(r[c], r[4 + c], 0x88);
    const __m512i hi01 = _mm512_shuffle_i32x4(r[c], r[4 + c], 0xdd);
    const __m512i lo23 = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0x88);
    const __m512i hi23 = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0xdd);
    t[c] = _mm512_shuffle_i32x4(lo01, lo23, 0x88);
    t[4 + c] = _mm512_shuffle_i32x4(hi01, hi23, 0x88);
    t[8 + c] = _mm512_shuffle_i32x4(lo01, lo23, 0xdd);
    t[12 + c] = _mm512_shuffle_i32x4(hi01, hi23, 0xdd);
  }
  for (int i = 0; i < 16; ++i) r[i] = t[i];
}

template <typename Element>
inline void pack_columns(const void* w, bool w_bf16, int64_t ldw, int64_t n, int64_t k,
                         void* panel) {
  const int64_t vectors = (n + 15) / 16;
  const int64_t steps = (k * Element::kSize + 3) / 4;
  constexpr int64_t kPerStep = 4 / Element::kSize;
  for (int64_t s = 0; s < steps; s += 16) {
    for (int64_t v = 0; v < vectors; ++v) {
      __m512i r[16];
      for (int64_t i = 0; i < 16; ++i) {
        r[i] = 16 * v + i < n ? Element::load_row(w, w_bf16, (16 * v + i) * ldw + s * kPerStep,
                                                  k - s * kPerStep)
                              : _mm512_setzero_si512();
      }
      transpose_16x16(r);
      const int64_t count = steps - s < 16 ? steps - s : 16;
      char* target = static_cast<char*>(panel) + (s * vectors + v) * 64;
      for (int64_t j = 0; j < count; ++j) _mm512_storeu_si512(target + j * vectors * 64, r[j]);
    }
  }
}

// kRows rows of a against four rows of w at a time: 4 * kRows sums.
template <typename Dot, int kRows>
inline void dot_tile(const FloatDotBlock& g, int64_t row, int64_t n0, int64_t columns) {
  __m512 sum[kRows][4];
  for (auto& line : sum) {
    for (__m512& x : line) x = _mm512_setzero_ps();
  }
  const auto step = [&](int64_t c, int64_t left) {
    typename Dot::Vector w[4];
    for (int64_t j = 0; j < 4; ++j)
      w[j] = Dot::load(g.w, (n0 + (j < columns ? j : 0)) * g.k + c, left);
    for (int i = 0; i < kRows; ++i) {
      const typename Dot::Vector x = Dot::load(g.a, (row + i) * g.lda + c, left);
      for (int j = 0; j < 4; ++j) sum[i][j] = Dot::multiply_add(sum[i][j], x, w[j]);
    }
  };
  int64_t c = 0;
  for (; c + Dot::kStep <= g.k; c += Dot::kStep) step(c, Dot::kStep);
  if (c < g.k) step(c, g.k - c);
  // Constant bounds here keep the sums in registers above.
  float total[kRows][4];
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < 4; ++j) total[i][j] = _mm512_reduce_add_ps(sum[i][j]);
  }
  for (int64_t i = 0; i < kRows; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      const float y = total[i][j] + (g.bias != nullptr ? g.bias[n0 + j] : 0.0f);
      const int64_t at = (row + i) * g.ld_out + n0 + j;
      if (g.bf16_out) {
        static_cast<uint16_t*>(g.out)[at] = narrow_bf16(y);
      } else {
        static_cast<float*>(g.out)[at] = y;
      }
    }
  }
}

template <typename Dot>
inline void dot_block(const FloatDotBlock& g) {
  for (int64_t n0 = 0; n0 < g.n; n0 += 4) {
    const int64_t columns = g.n - n0 < 4 ? g.n - n0 : 4;
    int64_t row = 0;
    for (; row + 4 <= g.m; row += 4) dot_tile<Dot, 4>(g, row, n0, columns);
    for (; row + 2 <= g.m; row += 2) dot_tile<Dot, 2>(g, row, n0, columns);
    for (; row < g.m; ++row) dot_tile<Dot, 1>(g, row, n0, columns);
  }
}

struct DotFloat {
  using Vector = __m512;
  static constexpr int64_t kStep = 16;
  static Vector load(const void* p, int64_t at, int64_t left) {
    return _mm512_maskz_loadu_ps(head_mask(left), static_cast<const float*>(p) + at);
  }
  static __m512 multiply_add(__m512 sum, Vector x, Vector w) { return _mm512_fmadd_ps(x, w, sum); }
};

struct DotWidened {
  using Vector = __m512;
  static constexpr int64_t kStep = 16;
  static Vector load(const void* p, int64_t at, int64_t left) {
    return widen_bf16(
        _mm256_maskz_loadu_epi16(head_mask(left), static_cast<const uint16_t*>(p) + at));
  }
  static __m512 multiply_add(__m512 sum, Vector x, Vector w) { return _mm512_fmadd_ps(x, w, sum); }
};

}  // namespace
}  // namespace intaglio::cpu
