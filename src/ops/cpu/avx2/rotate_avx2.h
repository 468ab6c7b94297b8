// ConvRot rotation with AVX2: the bits of rotate_row (quant/rotation.h). Local to each file that
// includes it.
//
// Strides 1, 4 and 16 run in registers, 64 columns in eight of them:
//   stride 1    within 128 bits: y = s - (x reversed), s the sum of four lanes in each lane
//   stride 4    over the halves of two neighbouring registers
//   stride 16   over four registers
// Longer groups pass through a buffer in L1, a stage of four columns at a time; the last stage
// hands its columns on.
#pragma once

#include <cstdint>

#include "ops/cpu/avx2/quantize_avx2.h"

namespace intaglio {
namespace {

constexpr int64_t kLongestGroup = 4096;
constexpr int64_t kChunk = 64;

inline __m256 load(const float* x) { return _mm256_castsi256_ps(load8(x)); }
inline __m256 load(const uint16_t* x) { return _mm256_castsi256_ps(load8(x)); }

// Every step rounded, in the order of the contract: (x0 + x1) + (x2 + x3) in every lane.
inline __m256 half_of_sum(__m256 pairs, __m256 other_pairs) {
  return _mm256_mul_ps(_mm256_add_ps(pairs, other_pairs), _mm256_set1_ps(0.5f));
}

inline __m256 stage1(__m256 x) {
  const __m256 pairs = _mm256_add_ps(x, _mm256_permute_ps(x, 0xb1));
  const __m256 s = half_of_sum(pairs, _mm256_permute_ps(pairs, 0x4e));
  return _mm256_sub_ps(s, _mm256_permute_ps(x, 0x1b));
}

// a: x0 | x1, b: x2 | x3, four columns each.
inline void stage4(__m256& a, __m256& b) {
  const __m256 a_swapped = _mm256_permute2f128_ps(a, a, 1);
  const __m256 b_swapped = _mm256_permute2f128_ps(b, b, 1);
  const __m256 s = half_of_sum(_mm256_add_ps(a, a_swapped), _mm256_add_ps(b, b_swapped));
  a = _mm256_sub_ps(s, b_swapped);
  b = _mm256_sub_ps(s, a_swapped);
}

inline void stage(__m256& x0, __m256& x1, __m256& x2, __m256& x3) {
  const __m256 s = half_of_sum(_mm256_add_ps(x0, x1), _mm256_add_ps(x2, x3));
  const __m256 y0 = _mm256_sub_ps(s, x3), y1 = _mm256_sub_ps(s, x2);
  x2 = _mm256_sub_ps(s, x1);
  x3 = _mm256_sub_ps(s, x0);
  x0 = y0;
  x1 = y1;
}

// Strides 1, 4 and, of 64 columns, 16.
template <int kRegisters, typename T>
inline void rotate_chunk(const T* x, __m256 (&v)[kRegisters]) {
  for (int i = 0; i < kRegisters; ++i) v[i] = stage1(load(x + 8 * i));
  for (int i = 0; i < kRegisters; i += 2) stage4(v[i], v[i + 1]);
  if constexpr (kRegisters == 8) {
    stage(v[0], v[2], v[4], v[6]);
    stage(v[1], v[3], v[5], v[7]);
  }
}

// Groups of 8 * kRegisters columns: visit(column, eight rotated values).
template <int kRegisters, typename T, typename Visit>
inline void rotate_short(const T* x, int64_t cols, Visit&& visit) {
  for (int64_t c = 0; c < cols; c += 8 * kRegisters) {
    __m256 v[kRegisters];
    rotate_chunk(x + c, v);
    for (int i = 0; i < kRegisters; ++i) visit(c + 8 * i, v[i]);
  }
}

// One stage of a group in memory, at strides of 64 and more: visit(column, eight values).
template <typename Visit>
inline void stage_in_memory(const float* x, int64_t stride, int64_t group, Visit&& visit) {
  for (int64_t block = 0; block < group; block += 4 * stride) {
    for (int64_t c = block; c < block + stride; c += 8) {
      __m256 v[4];
      for (int i = 0; i < 4; ++i) v[i] = _mm256_load_ps(x + c + i * stride);
      stage(v[0], v[1], v[2], v[3]);
      for (int i = 0; i < 4; ++i) visit(c + i * stride, v[i]);
    }
  }
}

template <typename T, typename Visit>
inline void rotate_long(const T* x, int64_t group, int64_t cols, Visit&& visit) {
  alignas(32) float buffer[kLongestGroup];
  const auto keep = [&](int64_t column, __m256 v) { _mm256_store_ps(buffer + column, v); };
  for (int64_t first = 0; first < cols; first += group) {
    for (int64_t c = 0; c < group; c += kChunk) {
      __m256 v[8];
      rotate_chunk(x + first + c, v);
      for (int i = 0; i < 8; ++i) keep(c + 8 * i, v[i]);
    }
    int64_t stride = kChunk;
    for (; 4 * stride < group; stride *= 4) stage_in_memory(buffer, stride, group, keep);
    stage_in_memory(buffer, stride, group,
                    [&](int64_t column, __m256 v) { visit(first + column, v); });
  }
}

template <typename T, typename Visit>
inline void rotate(const T* x, int64_t group, int64_t cols, Visit&& visit) {
  if (group == 16) {
    rotate_short<2>(x, cols, visit);
  } else if (group == kChunk) {
    rotate_short<8>(x, cols, visit);
  } else {
    rotate_long(x, group, cols, visit);
  }
}

}  // namespace
}  // namespace intaglio
