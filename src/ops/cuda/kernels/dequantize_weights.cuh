// dequantize_weights: int8, NF4 or Q8_0 weights -> bf16 [n, k] (dequantize_weights_params.h has the
// formula).
//
// Bound by memory: int8 moves 3 bytes a weight, NF4 2.56, Q8_0 3.06, most of them written. So the
// unit is a piece of 8 weights, one 16-byte store, and a warp's stores of one instruction are 512
// contiguous bytes. Its loads are contiguous over the lanes as well:
//
//   int8   8 bytes a lane, 256 a warp; kPieces pieces a thread, all loaded before the first is stored
//   NF4    4 bytes a lane, 128 a warp; the 16 values stand in shared memory in 16 banks, so no two codes conflict
//   Q8_0   blocks of 34 bytes are aligned to 2 only: a tile of 256 blocks (8704 bytes) comes to shared memory by 16-byte loads and is read there
//
// Weights are read once and bypass L1.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "ops/cuda/dequantize_weights_params.h"
#include "ops/cuda/ptx/global_memory.cuh"

namespace intaglio::cuda {

inline constexpr int kDequantizeThreads = 256;
inline constexpr int kDequantizePieces = 4;  // of a thread
inline constexpr int kPieceWeights = 8;
inline constexpr int kQ8_0TileBlocks = 256;
inline constexpr int kQ8_0TileBytes = kQ8_0TileBlocks * static_cast<int>(kQ8_0BlockBytes);
static_assert(kQ8_0TileBytes % 16 == 0, "a tile begins where 16-byte loads may");

__device__ __forceinline__ uint32_t bf16_pair(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

__device__ __forceinline__ float byte_value(uint32_t word, int i) {
  return static_cast<float>(static_cast<int8_t>(word >> (8 * i)));
}

// Eight int8 times one scale.
__device__ __forceinline__ uint4 scaled_piece(uint2 v, float scale) {
  return {bf16_pair(byte_value(v.x, 0) * scale, byte_value(v.x, 1) * scale),
          bf16_pair(byte_value(v.x, 2) * scale, byte_value(v.x, 3) * scale),
          bf16_pair(byte_value(v.y, 0) * scale, byte_value(v.y, 1) * scale),
          bf16_pair(byte_value(v.y, 2) * scale, byte_value(v.y, 3) * scale)};
}

__device__ __forceinline__ void store_bf16(void* out, int64_t at, float value) {
  static_cast<__nv_bfloat16*>(out)[at] = __float2bfloat16_rn(value);
}

// kVector: k and ldw are multiples of 8, w at a multiple of 8 bytes. Otherwise a thread makes
// single weights.
template <bool kVector>
__global__ void __launch_bounds__(kDequantizeThreads)
    dequantize_i8_kernel(const __grid_constant__ DequantizeWeightsParams p) {
  constexpr int kUnit = kVector ? kPieceWeights : 1;
  const uint32_t units_of_row = static_cast<uint32_t>(p.k / kUnit);
  const int64_t units = int64_t{p.n} * units_of_row;
  const int64_t first =
      int64_t{blockIdx.x} * (kDequantizeThreads * kDequantizePieces) + threadIdx.x;
  const auto* w = static_cast<const int8_t*>(p.w);
  if constexpr (kVector) {
    uint2 v[kDequantizePieces];
    float scale[kDequantizePieces];
#pragma unroll
    for (int i = 0; i < kDequantizePieces; ++i) {
      const int64_t unit = first + i * kDequantizeThreads;
      if (unit >= units) continue;
      const uint32_t row = static_cast<uint32_t>(unit) / units_of_row;
      const uint32_t column = static_cast<uint32_t>(unit) % units_of_row;
      v[i] = ptx::ld_global_stream_8(w + row * p.ldw + int64_t{column} * kPieceWeights);
      scale[i] = __ldg(p.scale + row);
    }
#pragma unroll
    for (int i = 0; i < kDequantizePieces; ++i) {
      const int64_t unit = first + i * kDequantizeThreads;
      if (unit < units) static_cast<uint4*>(p.out)[unit] = scaled_piece(v[i], scale[i]);
    }
  } else {
    for (int i = 0; i < kDequantizePieces; ++i) {
      const int64_t unit = first + i * kDequantizeThreads;
      if (unit >= units) return;
      const int64_t row = unit / p.k;
      store_bf16(p.out, unit,
                 static_cast<float>(w[row * p.ldw + unit % p.k]) * __ldg(p.scale + row));
    }
  }
}

__global__ void __launch_bounds__(kDequantizeThreads)
    dequantize_nf4_kernel(const __grid_constant__ DequantizeWeightsParams p) {
  __shared__ float value[kNf4Codes];
  if (threadIdx.x < kNf4Codes) value[threadIdx.x] = nf4_value(static_cast<int>(threadIdx.x));
  __syncthreads();
  constexpr int kPiecesOfBlock = kNf4Block / kPieceWeights;
  const int64_t count = int64_t{p.n} * p.k, pieces = count / kPieceWeights;
  const int64_t first =
      int64_t{blockIdx.x} * (kDequantizeThreads * kDequantizePieces) + threadIdx.x;
  uint32_t codes[kDequantizePieces];
  float absmax[kDequantizePieces];
#pragma unroll
  for (int i = 0; i < kDequantizePieces; ++i) {
    const int64_t piece = first + i * kDequantizeThreads;
    if (piece >= pieces) continue;
    codes[i] = ptx::ld_global_stream_4(static_cast<const uint32_t*>(p.w) + piece);
    absmax[i] = __ldg(p.scale + piece / kPiecesOfBlock);
  }
#pragma unroll
  for (int i = 0; i < kDequantizePieces; ++i) {
    const int64_t piece = first + i * kDequantizeThreads;
    if (piece >= pieces) continue;
    // Byte b holds weight 2 b in its high nibble, 2 b + 1 in its low one.
    const auto pair = [&](int b) {
      const uint32_t byte = codes[i] >> (8 * b);
      return bf16_pair(value[byte >> 4 & 15] * absmax[i], value[byte & 15] * absmax[i]);
    };
    static_cast<uint4*>(p.out)[piece] = {pair(0), pair(1), pair(2), pair(3)};
  }
  // The last weights, fewer than a piece.
  const int64_t rest = pieces * kPieceWeights + threadIdx.x;
  if (blockIdx.x == 0 && rest < count) {
    const uint8_t byte = static_cast<const uint8_t*>(p.w)[rest / 2];
    store_bf16(p.out, rest, value[nf4_code(byte, rest)] * __ldg(p.scale + rest / kNf4Block));
  }
}

__global__ void __launch_bounds__(kDequantizeThreads)
    dequantize_q8_0_kernel(const __grid_constant__ DequantizeWeightsParams p) {
  __shared__ __align__(16) uint8_t tile[kQ8_0TileBytes];
  constexpr int kPiecesOfBlock = kQ8_0Block / kPieceWeights;
  const int64_t blocks = int64_t{p.n} * (p.k / kQ8_0Block);
  const int64_t first_block = int64_t{blockIdx.x} * kQ8_0TileBlocks;
  const int here = static_cast<int>(min(int64_t{kQ8_0TileBlocks}, blocks - first_block));
  const int bytes = here * static_cast<int>(kQ8_0BlockBytes);
  const auto* from = static_cast<const uint8_t*>(p.w) + first_block * kQ8_0BlockBytes;
  for (int at = static_cast<int>(threadIdx.x) * 16; at < bytes; at += kDequantizeThreads * 16) {
    if (at + 16 <= bytes) {
      *reinterpret_cast<uint4*>(tile + at) = ptx::ld_global_stream_16(from + at);
    } else {
      for (int i = at; i < bytes; ++i) tile[i] = from[i];
    }
  }
  __syncthreads();
  uint4* out = static_cast<uint4*>(p.out) + first_block * kPiecesOfBlock;
  for (int piece = static_cast<int>(threadIdx.x); piece < here * kPiecesOfBlock;
       piece += kDequantizeThreads) {
    const int weight = piece * kPieceWeights;
    const float scale =
        __half2float(*reinterpret_cast<const __half*>(tile + q8_0_scale_offset(weight)));
    const auto* half = reinterpret_cast<const uint16_t*>(tile + q8_0_value_offset(weight));
    const uint2 v{half[0] | static_cast<uint32_t>(half[1]) << 16,
                  half[2] | static_cast<uint32_t>(half[3]) << 16};
    out[piece] = scaled_piece(v, scale);
  }
}

}  // namespace intaglio::cuda
