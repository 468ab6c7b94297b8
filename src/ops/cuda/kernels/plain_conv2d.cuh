// plain_conv2d: 2-D convolution of a channels-last picture on CUDA cores, float or bf16, as an
// implicit matrix product. Every architecture.
//
// The yardstick that sm80_conv2d is checked by, the float path, and the only path before sm_80.
// Formula and layouts: ops/cuda/conv2d_params.h. Products and sums are float, one fused
// multiply-add after the other in the order of taps, then channels: for float the rounding of a
// plain loop.
//
//        k: 16 channels of a tap            A block: kTileM pixels x kTileN output channels, 128 threads. A thread: 8 x 8 of them, as four
//      +------+                             4 x 4 corners, so that the 16-byte reads of a warp are side by side in shared memory.
//   m  | x    |   +-------------------+
//      |      |   | 0 1 .. 7 | 0 1 .. 7|  thread column, thread row   Shared memory holds both operands with k outermost, as floats; rows are 4
//      +------+   | ...               |                              longer than the tile, so that the 16 k of one pixel, written at once, fall in
//                 +-------------------+                              different banks but for two by two.
//
// Both operands are read number by number: 16 neighbouring lanes take 16 channels of one pixel. Any
// number of channels, any alignment.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>
#include <type_traits>

#include "ops/cuda/conv2d_params.h"
#include "ops/cuda/tile/conv2d_epilogue.cuh"

namespace intaglio::cuda {

struct PlainConv2dConfig {
  static constexpr int kTileM = 128, kTileN = 64, kTileK = 16;
  static constexpr int kThreads = 128;
  static constexpr int kThreadColumns = 8;  // threads side by side along N, 4 + 4 channels each
  static constexpr int kXLine = kTileM + 4, kWLine = kTileN + 4;  // floats of one k
  static constexpr int kSmemBytes = kTileK * (kXLine + kWLine) * 4;
  static constexpr int kRowsOfPass = kThreads / kTileK;

  static_assert(kThreads / kThreadColumns * 8 == kTileM && kThreadColumns * 8 == kTileN);
  static_assert(kXLine % 4 == 0 && kWLine % 4 == 0, "reads of 16 bytes");
  static_assert(kTileM / kRowsOfPass <= 32, "a tap's bits of a thread's rows are one register");
};

struct PlainConv2dArgs {
  Conv2dParams p;
  Conv2dGeometry g;
  int32_t tiles_n;  // of a phase; the grid has tiles_m * tiles_n * phases blocks
};

// Four floats of shared memory from `from` and four `apart` floats on.
__device__ __forceinline__ void plain_conv2d_read(float (&to)[8], const float* from, int apart) {
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const float4 four = *reinterpret_cast<const float4*>(from + i * apart);
    to[4 * i] = four.x, to[4 * i + 1] = four.y, to[4 * i + 2] = four.z, to[4 * i + 3] = four.w;
  }
}

template <typename T>
__device__ __forceinline__ void plain_conv2d_write(const Conv2dParams& p, int64_t at, int col,
                                                   float sum) {
  if constexpr (std::is_same_v<T, float>) {
    // As if f32_out: y and add are float.
    Conv2dParams q = p;
    q.f32_out = 1;
    write_conv2d_number(q, at, col, sum);
  } else {
    write_conv2d_number(p, at, col, sum);
  }
}

// T: float or __nv_bfloat16, the type of x and w.
template <typename T>
__global__ void __launch_bounds__(PlainConv2dConfig::kThreads)
    plain_conv2d_kernel(const __grid_constant__ PlainConv2dArgs args) {
  using C = PlainConv2dConfig;
  extern __shared__ __align__(128) int8_t smem[];
  auto* const x_tile = reinterpret_cast<float*>(smem);   // [kTileK][kXLine]
  float* const w_tile = x_tile + C::kTileK * C::kXLine;  // [kTileK][kWLine]
  const Conv2dParams& p = args.p;
  const Conv2dGeometry& g = args.g;
  const int columns = args.tiles_n * g.phases;
  const int column = static_cast<int>(blockIdx.x) % columns;
  const int m0 = static_cast<int>(blockIdx.x) / columns * C::kTileM;
  const int n0 = column % args.tiles_n * C::kTileN, phase = column / args.tiles_n;
  const int k = threadIdx.x % C::kTileK, first_row = threadIdx.x / C::kTileK;
  const int thread_n = threadIdx.x % C::kThreadColumns * 4;
  const int thread_m = threadIdx.x / C::kThreadColumns * 4;

  float acc[8][8];
#pragma unroll
  for (int i = 0; i < 8; ++i) {
#pragma unroll
    for (int j = 0; j < 8; ++j) acc[i][j] = 0.0f;
  }
#pragma unroll 1
  for (int tap = 0; tap < g.taps; ++tap) {
    const int64_t shift = int64_t{conv2d_first_row(g, phase) + tap / g.side} * g.width +
                          conv2d_first_column(g, phase) + tap % g.side;
    uint32_t inside = 0;  // bit i: the shifted pixel of this thread's row of pass i is part of x
#pragma unroll 1
    for (int i = 0; i < C::kTileM / C::kRowsOfPass; ++i) {
      const int pixel = m0 + i * C::kRowsOfPass + first_row;
      inside |= (conv2d_tap_mask(g, phase, pixel) >> tap & 1u) << i;
    }
#pragma unroll 1
    for (int c0 = 0; c0 < p.in_channels; c0 += C::kTileK) {
      const int c = c0 + k;
      const bool is_channel = c < p.in_channels;
#pragma unroll
      for (int i = 0; i < C::kTileM / C::kRowsOfPass; ++i) {
        const int row = i * C::kRowsOfPass + first_row;
        float value = 0.0f;
        if (is_channel && (inside >> i & 1u) != 0)
          value = static_cast<float>(
              static_cast<const T*>(p.x)[(m0 + row + shift) * p.in_channels + c]);
        x_tile[k * C::kXLine + row] = value;
      }
#pragma unroll
      for (int i = 0; i < C::kTileN / C::kRowsOfPass; ++i) {
        const int row = i * C::kRowsOfPass + first_row;
        float value = 0.0f;
        if (is_channel && n0 + row < p.out_channels) {
          const int64_t of_phase = int64_t{phase} * p.out_channels + n0 + row;
          value = static_cast<float>(
              static_cast<const T*>(p.w)[(of_phase * g.taps + tap) * g.channels_padded + c]);
        }
        w_tile[k * C::kWLine + row] = value;
      }
      __syncthreads();  // the tiles are whole
#pragma unroll
      for (int step = 0; step < C::kTileK; ++step) {
        float x[8], w[8];
        plain_conv2d_read(x, x_tile + step * C::kXLine + thread_m, C::kTileM / 2);
        plain_conv2d_read(w, w_tile + step * C::kWLine + thread_n, C::kTileN / 2);
#pragma unroll
        for (int i = 0; i < 8; ++i) {
#pragma unroll
          for (int j = 0; j < 8; ++j) acc[i][j] = fmaf(x[i], w[j], acc[i][j]);
        }
      }
      __syncthreads();  // everyone has read them
    }
  }

#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const int pixel = m0 + i / 4 * (C::kTileM / 2) + thread_m + i % 4;
    const int64_t at = conv2d_output_offset(p, g, phase, pixel);
    if (at < 0) continue;
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      plain_conv2d_write<T>(p, at, n0 + j / 4 * (C::kTileN / 2) + thread_n + j % 4, acc[i][j]);
    }
  }
}

}  // namespace intaglio::cuda
