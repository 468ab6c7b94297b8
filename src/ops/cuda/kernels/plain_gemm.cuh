// plain_gemm: a float matrix product on CUDA cores for whatever no faster kernel takes. Every
// architecture.
//
// Formula and contract: ops/cuda/plain_gemm_params.h. The last entry of the list on a GPU: it has
// no demands, so it has no refusals.
//
//        k: 16                          A block: kTile x kTile outputs, 256 threads, 4 x 4 outputs each, kThreadsOfSide apart, so that
//      +------+   +-----------+         neighbouring lanes read neighbouring numbers of shared memory and write neighbouring numbers.
//   m  | a    |   | 0 1 .. 15 |
//      +------+   | ...       |         Both operands are read number by number: 16 neighbouring lanes take 16 numbers of one row. They lie
//                 +-----------+         in shared memory as floats, k outermost, in lines one number longer than the tile.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "ops/cuda/plain_gemm_params.h"

namespace intaglio::cuda {

struct PlainGemmConfig {
  static constexpr int kTile = 64, kTileK = 16;
  static constexpr int kThreads = 256;
  static constexpr int kThreadsOfSide = 16;
  static constexpr int kOutputs = kTile / kThreadsOfSide;  // of a thread, each way
  static constexpr int kLine = kTile + 1;
  static constexpr int kRowsOfPass = kThreads / kTileK;

  static_assert(kThreadsOfSide * kThreadsOfSide == kThreads && kTile % kRowsOfPass == 0);
};

// T: float or __nv_bfloat16, the type of a and w.
// Rows first .. first + kTile - 1 and 16 columns from k0 of a matrix, as floats; zeros outside.
template <typename T>
__device__ __forceinline__ void load_plain_gemm_tile(
    float (&tile)[PlainGemmConfig::kTileK][PlainGemmConfig::kLine], const void* matrix, int64_t ld,
    int64_t rows, int64_t cols, int64_t first, int64_t k0) {
  using C = PlainGemmConfig;
  const int k = static_cast<int>(threadIdx.x) % C::kTileK;
#pragma unroll
  for (int i = 0; i < C::kTile / C::kRowsOfPass; ++i) {
    const int row = i * C::kRowsOfPass + static_cast<int>(threadIdx.x) / C::kTileK;
    float value = 0.0f;
    if (first + row < rows && k0 + k < cols)
      value = static_cast<float>(static_cast<const T*>(matrix)[(first + row) * ld + k0 + k]);
    tile[k][row] = value;
  }
}

template <typename T>
__global__ void __launch_bounds__(PlainGemmConfig::kThreads)
    plain_gemm_kernel(const __grid_constant__ PlainGemmParams p) {
  using C = PlainGemmConfig;
  __shared__ float a_tile[C::kTileK][C::kLine];
  __shared__ float w_tile[C::kTileK][C::kLine];
  const int thread_n = static_cast<int>(threadIdx.x) % C::kThreadsOfSide;
  const int thread_m = static_cast<int>(threadIdx.x) / C::kThreadsOfSide;
  const int64_t tiles_n = (p.n + C::kTile - 1) / C::kTile;
  const int64_t tiles = (p.m + C::kTile - 1) / C::kTile * tiles_n;
#pragma unroll 1
  for (int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const int64_t m0 = tile / tiles_n * C::kTile, n0 = tile % tiles_n * C::kTile;
    float acc[C::kOutputs][C::kOutputs] = {};
#pragma unroll 1
    for (int64_t k0 = 0; k0 < p.k; k0 += C::kTileK) {
      load_plain_gemm_tile<T>(a_tile, p.a, p.lda, p.m, p.k, m0, k0);
      load_plain_gemm_tile<T>(w_tile, p.w, p.ldw, p.n, p.k, n0, k0);
      __syncthreads();  // the tiles are whole
      const int steps = p.k - k0 < C::kTileK ? static_cast<int>(p.k - k0) : C::kTileK;
#pragma unroll 1
      for (int step = 0; step < steps; ++step) {
        float a[C::kOutputs], w[C::kOutputs];
#pragma unroll
        for (int i = 0; i < C::kOutputs; ++i) {
          a[i] = a_tile[step][i * C::kThreadsOfSide + thread_m];
          w[i] = w_tile[step][i * C::kThreadsOfSide + thread_n];
        }
#pragma unroll
        for (int i = 0; i < C::kOutputs; ++i) {
#pragma unroll
          for (int j = 0; j < C::kOutputs; ++j) acc[i][j] = fmaf(a[i], w[j], acc[i][j]);
        }
      }
      __syncthreads();  // everyone has read them
    }
#pragma unroll
    for (int i = 0; i < C::kOutputs; ++i) {
      const int64_t row = m0 + i * C::kThreadsOfSide + thread_m;
#pragma unroll
      for (int j = 0; j < C::kOutputs; ++j) {
        const int64_t col = n0 + j * C::kThreadsOfSide + thread_n;
        if (row >= p.m || col >= p.n) continue;
        const float sum = p.bias != nullptr ? __fadd_rn(acc[i][j], p.bias[col]) : acc[i][j];
        if (p.out_type == DType::kF32) {
          static_cast<float*>(p.out)[row * p.ldo + col] = sum;
        } else {
          static_cast<__nv_bfloat16*>(p.out)[row * p.ldo + col] = __float2bfloat16_rn(sum);
        }
      }
    }
  }
}

}  // namespace intaglio::cuda
