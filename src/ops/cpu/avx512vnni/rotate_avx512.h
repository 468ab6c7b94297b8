// ConvRot rotation with AVX-512: the bits of rotate_row (quant/rotation.h). Local to each file that
// includes it.
//
// Groups of up to 256 columns lie in up to 16 registers and never leave them:
//   stride 1    within 128 bits: y = s - (x reversed), s the sum of four lanes in each lane
//   stride 4    the same over the quarters of a register
//   strides 16, 64   over registers 1 and 4 apart
// Longer groups pass through a buffer in L1 once: 256 columns at a time in, then strides 256 and
// 1024 over 4 or 16 registers.
#pragma once

#include <cstdint>

#include "ops/cpu/avx512vnni/quantize_avx512.h"

namespace intaglio {
namespace {

constexpr int64_t kLongestGroup = 4096;
constexpr int64_t kChunk = 256;

// Every step rounded, in the order of the contract: (x0 + x1) + (x2 + x3) in every lane.
inline __m512 half_of_sum(__m512 pairs, __m512 other_pairs) {
  return _mm512_mul_ps(_mm512_add_ps(pairs, other_pairs), _mm512_set1_ps(0.5f));
}

inline __m512 stage1(__m512 x) {
  const __m512 pairs = _mm512_add_ps(x, _mm512_permute_ps(x, 0xb1));
  const __m512 s = half_of_sum(pairs, _mm512_permute_ps(pairs, 0x4e));
  return _mm512_sub_ps(s, _mm512_permute_ps(x, 0x1b));
}

inline __m512 stage4(__m512 x) {
  const __m512 pairs = _mm512_add_ps(x, _mm512_shuffle_f32x4(x, x, 0xb1));
  const __m512 s = half_of_sum(pairs, _mm512_shuffle_f32x4(pairs, pairs, 0x4e));
  return _mm512_sub_ps(s, _mm512_shuffle_f32x4(x, x, 0x1b));
}

inline void stage(__m512& x0, __m512& x1, __m512& x2, __m512& x3) {
  const __m512 s = half_of_sum(_mm512_add_ps(x0, x1), _mm512_add_ps(x2, x3));
  const __m512 y0 = _mm512_sub_ps(s, x3), y1 = _mm512_sub_ps(s, x2);
  x2 = _mm512_sub_ps(s, x1);
  x3 = _mm512_sub_ps(s, x0);
  x0 = y0;
  x1 = y1;
}

// The stages over 1, 4 or 16 registers: none, one, two.
template <int kRegisters>
inline void stages(__m512 (&v)[kRegisters]) {
  if constexpr (kRegisters >= 4) {
    for (int i = 0; i < kRegisters; i += 4) stage(v[i], v[i + 1], v[i + 2], v[i + 3]);
  }
  if constexpr (kRegisters == 16) {
    for (int i = 0; i < 4; ++i) stage(v[i], v[i + 4], v[i + 8], v[i + 12]);
  }
}

template <int kRegisters, typename T>
inline void rotate_chunk(const T* x, __m512 (&v)[kRegisters]) {
  for (int i = 0; i < kRegisters; ++i) v[i] = stage4(stage1(load(x + 16 * i, 0xffff)));
  stages(v);
}

// Groups of 16 * kRegisters columns: visit(column, 16 rotated values).
template <int kRegisters, typename T, typename Visit>
inline void rotate_short(const T* x, int64_t cols, Visit&& visit) {
  for (int64_t c = 0; c < cols; c += 16 * kRegisters) {
    __m512 v[kRegisters];
    rotate_chunk(x + c, v);
    for (int i = 0; i < kRegisters; ++i) visit(c + 16 * i, v[i]);
  }
}

// Groups of kChunks chunks.
template <int kChunks, typename T, typename Visit>
inline void rotate_long(const T* x, int64_t cols, Visit&& visit) {
  alignas(64) float buffer[kLongestGroup];
  for (int64_t first = 0; first < cols; first += kChunks * kChunk) {
    for (int64_t c = 0; c < kChunks * kChunk; c += kChunk) {
      __m512 v[16];
      rotate_chunk(x + first + c, v);
      for (int i = 0; i < 16; ++i) _mm512_store_ps(buffer + c + 16 * i, v[i]);
    }
    for (int64_t c = 0; c < kChunk; c += 16) {
      __m512 v[kChunks];
      for (int i = 0; i < kChunks; ++i) v[i] = _mm512_load_ps(buffer + c + i * kChunk);
      stages(v);
      for (int i = 0; i < kChunks; ++i) visit(first + c + i * kChunk, v[i]);
    }
  }
}

template <typename T, typename Visit>
inline void rotate(const T* x, int64_t group, int64_t cols, Visit&& visit) {
  switch (group) {
    case 16:
      return rotate_short<1>(x, cols, visit);
    case 64:
      return rotate_short<4>(x, cols, visit);
    case 256:
      return rotate_short<16>(x, cols, visit);
    case 1024:
      return rotate_long<4>(x, cols, visit);
    default:
      return rotate_long<16>(x, cols, visit);
  }
}

}  // namespace
}  // namespace intaglio
