// From a warp's float sums of a convolution to y: + bias, + add, each rounded, then rounded to the
// type of y.
//
// An accumulator has two adjacent channels of a pixel in a lane. Four lanes hold a pixel's 32
// channels as 4-byte pieces of four blocks of 8; an exchange of 4 x 4 pieces (four shuffles,
// tile/epilogue.cuh) gives each lane a whole block, 16 bytes to store. The exchange undoes itself,
// so `add` comes in by the same way. Every access is of full 32-byte sectors, with no shared memory
// and no barrier.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "ops/cuda/conv2d_params.h"
#include "ops/cuda/tile/epilogue.cuh"
#include "ops/cuda/tile/mma_layout.h"

namespace intaglio::cuda {

// Elements from the start of y (and of add) to the first channel of the pixel; -1 past the last
// pixel.
__device__ __forceinline__ int64_t conv2d_output_offset(const Conv2dParams& p,
                                                        const Conv2dGeometry& g, int phase,
                                                        int pixel) {
  if (pixel >= g.pixels) return -1;
  return int64_t{conv2d_output_pixel(g, phase, pixel)} * p.out_channels;
}

// Two bf16 in a word as floats, exact.
__device__ __forceinline__ float2 conv2d_unpack_pair(uint32_t pair) {
  union {
    uint32_t bits[2];
    float2 value;
  } const v{{pair << 16, pair & 0xffff0000u}};
  return v.value;
}

// A warp's tile of a bf16 output whose channels come in aligned eights: 16-byte loads of add and
// 16-byte stores. All 32 lanes call it.
template <int kMi, int kNi>
__device__ __forceinline__ void write_conv2d_blocks(const Conv2dParams& p, const Conv2dGeometry& g,
                                                    int phase, int lane, int row0, int col0,
                                                    const float (&acc)[kMi][kNi][4]) {
  constexpr int kGroups = kNi / 4;  // of 32 channels: a block of 8 for each lane of four
  const int block_col = col0 + 8 * (lane % 4);
  float2 bias[kNi];
#pragma unroll
  for (int j = 0; j < kNi; ++j) {
    const int col = col0 + 8 * j + accumulator_column(lane);
    // x + -0 is x for every x.
    bias[j] = p.bias != nullptr && col < p.out_channels
                  ? __ldg(reinterpret_cast<const float2*>(p.bias + col))
                  : float2{-0.0f, -0.0f};
  }
  // Two m16 rows of add in flight. Plain loads: add may be y, and each lane reads what it alone
  // will write.
  int64_t at[2][2];
  uint4 added[2][2][kGroups];
  const auto load = [&](int mi) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int pixel = row0 + 16 * mi + 8 * half + accumulator_row(lane);
      const int64_t from = conv2d_output_offset(p, g, phase, pixel);
      at[mi % 2][half] = from;
#pragma unroll
      for (int group = 0; group < kGroups; ++group) {
        const int col = block_col + 32 * group;
        uint4& to = added[mi % 2][half][group];
        to = make_uint4(0, 0, 0, 0);
        if (p.add != nullptr && from >= 0 && col < p.out_channels)
          to = *reinterpret_cast<const uint4*>(static_cast<const __nv_bfloat16*>(p.add) + from +
                                               col);
      }
    }
  };
  load(0);
#pragma unroll
  for (int mi = 0; mi < kMi; ++mi) {
    if (mi + 1 < kMi) load(mi + 1);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int group = 0; group < kGroups; ++group) {
        const uint4& block = added[mi % 2][half][group];
        uint32_t a[4] = {block.x, block.y, block.z, block.w};
        // The exchange undoes itself: from a lane's own block to its pieces of four blocks.
        if (p.add != nullptr) quad_transpose(a, lane);
        uint32_t v[4];
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const float(&sums)[4] = acc[mi][4 * group + j];
          const float2& b = bias[4 * group + j];
          float2 y{__fadd_rn(sums[2 * half], b.x), __fadd_rn(sums[2 * half + 1], b.y)};
          if (p.add != nullptr) {
            const float2 more = conv2d_unpack_pair(a[j]);
            y = {__fadd_rn(y.x, more.x), __fadd_rn(y.y, more.y)};
          }
          v[j] = pack_half_pair(y, DType::kBF16);
        }
        quad_transpose(v, lane);
        const int col = block_col + 32 * group;
        const int64_t to = at[mi % 2][half];
        if (to >= 0 && col < p.out_channels)
          *reinterpret_cast<uint4*>(static_cast<__nv_bfloat16*>(p.y) + to + col) =
              make_uint4(v[0], v[1], v[2], v[3]);
      }
    }
  }
}

__device__ __forceinline__ void write_conv2d_number(const Conv2dParams& p, int64_t at, int col,
                                                    float sum) {
  if (col >= p.out_channels) return;
  float y = p.bias != nullptr ? __fadd_rn(sum, __ldg(p.bias + col)) : sum;
  if (p.f32_out != 0) {
    if (p.add != nullptr) y = __fadd_rn(y, static_cast<const float*>(p.add)[at + col]);
    static_cast<float*>(p.y)[at + col] = y;
  } else {
    if (p.add != nullptr)
      y = __fadd_rn(y, static_cast<float>(static_cast<const __nv_bfloat16*>(p.add)[at + col]));
    static_cast<__nv_bfloat16*>(p.y)[at + col] = __float2bfloat16_rn(y);
  }
}

// Any output: ragged channels, any alignment, float.
template <int kMi, int kNi>
__device__ __forceinline__ void write_conv2d_numbers(const Conv2dParams& p, const Conv2dGeometry& g,
                                                     int phase, int lane, int row0, int col0,
                                                     const float (&acc)[kMi][kNi][4]) {
#pragma unroll
  for (int mi = 0; mi < kMi; ++mi) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int pixel = row0 + 16 * mi + 8 * half + accumulator_row(lane);
      const int64_t at = conv2d_output_offset(p, g, phase, pixel);
      if (at < 0) continue;
#pragma unroll
      for (int j = 0; j < kNi; ++j) {
        const int col = col0 + 8 * j + accumulator_column(lane);
        write_conv2d_number(p, at, col, acc[mi][j][2 * half]);
        write_conv2d_number(p, at, col + 1, acc[mi][j][2 * half + 1]);
      }
    }
  }
}

__device__ __forceinline__ bool conv2d_has_blocks(const Conv2dParams& p) {
  const auto aligned = [](const void* at, int bytes) {
    return reinterpret_cast<uintptr_t>(at) % bytes == 0;
  };
  return p.f32_out == 0 && p.out_channels % 8 == 0 && aligned(p.y, 16) && aligned(p.add, 16) &&
         aligned(p.bias, 8);
}

}  // namespace intaglio::cuda
