// V of attention to int8: three launches, all of them bound by memory.
//
//   s8_value_sums       sum, minimum and maximum of kS8MeanTokens tokens of a channel -> workspace
//   s8_value_scales     of these the mean and the scale of a channel
//   s8_value_quantize   kS8ValueKeys tokens of a head -> [head_dim, kS8ValueKeys] bytes
//
// A thread takes one channel at a time, so that a warp reads 32 neighbours of a token and, in the
// last launch, writes 32 rows of 32 bytes that follow each other.
//
// Numeric contract: the bits of ops/ref/s8_values.cpp. The greatest |v - mean| is that of the
// minimum or of the maximum, because rounding keeps the order. A NaN, which minimum and maximum
// pass over, is in the sum. V is read twice and written once in bytes: 5 bytes an element of bf16.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "ops/cuda/kernels/row_quantizer.cuh"
#include "ops/cuda/s8_values_params.h"
#include "ops/s8_value_layout.h"

namespace intaglio::cuda {

inline constexpr int kS8ValuesThreads = 256;

INTAGLIO_HOST_DEVICE constexpr int s8_value_chunks(int tokens) {
  return (tokens - 1) / kS8MeanTokens + 1;
}
INTAGLIO_HOST_DEVICE constexpr int s8_value_groups(int tokens) {
  return (tokens - 1) / kS8ValueKeys + 1;
}

template <class Type>
__device__ __forceinline__ float load_value(const S8ValuesParams& p, int token, int64_t channel) {
  const int64_t at = int64_t{token} * p.ldv + channel;
  if constexpr (Type::kBytes == 4) return __ldg(static_cast<const float*>(p.v) + at);
  return __uint_as_float(uint32_t{__ldg(static_cast<const uint16_t*>(p.v) + at)} << 16);
}

// Of channel c of head h and chunk `chunk`; `of` 0: sums, 1: minima, 2: maxima.
__device__ __forceinline__ float* s8_value_partial(const S8ValuesParams& p, int of, int h,
                                                   int chunk, int c) {
  return p.workspace +
         ((int64_t{of} * p.kv_heads + h) * s8_value_chunks(p.tokens) + chunk) * p.head_dim + c;
}

// Grid: chunks, kv_heads.
template <class Type>
__global__ void __launch_bounds__(kS8ValuesThreads) s8_value_sums(const S8ValuesParams p) {
  const int chunk = blockIdx.x, h = blockIdx.y, first = chunk * kS8MeanTokens;
  const int end = min(p.tokens, first + kS8MeanTokens);
  for (int c = threadIdx.x; c < p.head_dim; c += kS8ValuesThreads) {
    const int64_t channel = int64_t{h} * p.head_dim + c;
    float sum = 0.0f, least = load_value<Type>(p, first, channel), most = least;
#pragma unroll 8
    for (int s = first; s < end; ++s) {
      const float x = load_value<Type>(p, s, channel);
      sum = __fadd_rn(sum, x);
      least = fminf(least, x);
      most = fmaxf(most, x);
    }
    *s8_value_partial(p, 0, h, chunk, c) = sum;
    *s8_value_partial(p, 1, h, chunk, c) = least;
    *s8_value_partial(p, 2, h, chunk, c) = most;
  }
}

__device__ __forceinline__ uint32_t distance_bits(float x, float mean) {
  return __float_as_uint(__fadd_rn(x, -mean)) & 0x7fffffffu;
}

// Grid: slices of kS8ValuesThreads channels, kv_heads. The factor, which is 0 for a channel of
// zeros, takes the place of the first sum.
__global__ void __launch_bounds__(kS8ValuesThreads) s8_value_scales(const S8ValuesParams p) {
  const int c = blockIdx.x * kS8ValuesThreads + threadIdx.x, h = blockIdx.y;
  if (c >= p.head_dim) return;
  const int chunks = s8_value_chunks(p.tokens);
  float total = 0.0f, least = *s8_value_partial(p, 1, h, 0, c),
        most = *s8_value_partial(p, 2, h, 0, c);
#pragma unroll 4
  for (int chunk = 0; chunk < chunks; ++chunk) {
    total = __fadd_rn(total, *s8_value_partial(p, 0, h, chunk, c));
    least = fminf(least, *s8_value_partial(p, 1, h, chunk, c));
    most = fmaxf(most, *s8_value_partial(p, 2, h, chunk, c));
  }
  const float mean = __fdiv_rn(total, static_cast<float>(p.tokens));
  const uint32_t below = distance_bits(least, mean), above = distance_bits(most, mean);
  const DeviceRowScale row = device_row_scale(below > above ? below : above);
  p.scale[int64_t{h} * p.head_dim + c] = row.scale;
  p.mean[int64_t{h} * p.head_dim + c] = mean;
  *s8_value_partial(p, 0, h, 0, c) = row.factor;
}

// Grid: groups, kv_heads.
template <class Type>
__global__ void __launch_bounds__(kS8ValuesThreads) s8_value_quantize(const S8ValuesParams p) {
  const int group = blockIdx.x, h = blockIdx.y, first = group * kS8ValueKeys;
  int8_t* const to = p.values + (int64_t{h} * s8_value_groups(p.tokens) + group) * p.head_dim *
                                    int64_t{kS8ValueKeys};
  for (int c = threadIdx.x; c < p.head_dim; c += kS8ValuesThreads) {
    const int64_t channel = int64_t{h} * p.head_dim + c;
    const float mean = p.mean[channel], factor = *s8_value_partial(p, 0, h, 0, c);
    const DeviceRowScale row{factor, 0.0f, factor == 0.0f ? 0u : 0xffffffffu};
#pragma unroll 1
    for (int half = 0; half < kS8ValueKeys; half += 16) {
      float x[16];
#pragma unroll
      for (int i = 0; i < 16; ++i) {
        const int s = first + half + s8_value_key(i);
        x[i] = s < p.tokens ? __fadd_rn(load_value<Type>(p, s, channel), -mean) : 0.0f;
      }
      *reinterpret_cast<uint4*>(to + int64_t{c} * kS8ValueKeys + half) = make_uint4(
          quantize4(x, row), quantize4(x + 4, row), quantize4(x + 8, row), quantize4(x + 12, row));
    }
  }
}

}  // namespace intaglio::cuda
