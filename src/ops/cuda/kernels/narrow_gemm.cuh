// narrow_gemm: a bf16 product of up to 64 columns, as fast as its rows are read: the first half of
// a side branch. For sm_80 and up. What it takes: ops/cuda/plain_gemm_params.h, with rows of whole
// pieces of 16 bytes.
//
//   out[m, n] = sum_k a[m, k] * w[n, k]        products exact, sums in float
//
// A block has 32 rows and all columns; its 8 warps take k32 steps in turn and their sums meet in
// shared memory. Both operands go from global memory to the registers of the lane that needs them:
// k may be permuted at will as long as both agree, so a lane loads 16 bytes, k 8t .. 8t + 7, and
// uses them as the fragments of two m16n8k16. A warp's load covers 8 rows x 64 bytes: whole
// sectors. kUnroll steps of the rows are on their way before the first is used.
//
// Floor: 2 m k bytes over the memory's rate; 4608 x 4608 at 3.0 TB/s: 14 us, and where a quantizer
// reads the same rows next, they are in L2. W, 2 n k bytes, is read by every block from L2: as much
// as the rows at n 16.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "ops/cuda/plain_gemm_params.h"
#include "ops/cuda/ptx/global_memory.cuh"
#include "ops/cuda/ptx/mma_bf16.cuh"
#include "ops/cuda/tile/mma_layout.h"

namespace intaglio::cuda {

// kBlocks: of 8 columns, 2 to 8.
template <int kBlocks_>
struct NarrowGemmConfig {
  static constexpr int kBlocks = kBlocks_, kColumns = 8 * kBlocks_;
  static constexpr int kRowBlocks = 2, kRows = 16 * kRowBlocks;
  static constexpr int kWarps = 8, kThreads = 32 * kWarps;
  static constexpr int kStepK = 32, kUnroll = 2;
  static constexpr int kSmemBytes = kWarps * kRows * kColumns * 4;
};

// One k32 step of one block of columns: rows g (low) and g + 8 (high) of a, column g of w.
__device__ __forceinline__ void narrow_gemm_step(float (&acc)[4], uint4 low, uint4 high, uint4 w) {
  const uint32_t first[4] = {low.x, high.x, low.y, high.y};
  const uint32_t second[4] = {low.z, high.z, low.w, high.w};
  ptx::mma_m16n8k16_bf16(acc, first, w.x, w.y);
  ptx::mma_m16n8k16_bf16(acc, second, w.z, w.w);
}

template <class C>
__global__ void __launch_bounds__(C::kThreads)
    narrow_gemm_kernel(const __grid_constant__ PlainGemmParams p) {
  constexpr int kBlocks = C::kBlocks, kU = C::kUnroll, kHalves = 2 * C::kRowBlocks;
  extern __shared__ __align__(16) int8_t smem[];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t row0 = int64_t{blockIdx.x} * C::kRows;
  const int lane_k = lane % 4 * 8;

  // Rows past the end repeat the last one; their sums are not stored.
  const uint16_t* a[kHalves];
#pragma unroll
  for (int half = 0; half < kHalves; ++half) {
    const int64_t row = min(row0 + 8 * half + lane / 4, p.m - 1);
    a[half] = static_cast<const uint16_t*>(p.a) + row * p.lda + lane_k;
  }
  const uint16_t* const w = static_cast<const uint16_t*>(p.w) + lane / 4 * p.ldw + lane_k;
  const auto load_w = [&](int j, int64_t k) {
    return __ldg(reinterpret_cast<const uint4*>(w + 8 * j * p.ldw + k));
  };

  float acc[C::kRowBlocks][kBlocks][4] = {};
  const int steps = static_cast<int>(p.k / C::kStepK);
#pragma unroll 1
  for (int step = warp; step < steps; step += C::kWarps * kU) {
    uint4 rows[kU][kHalves];
#pragma unroll
    for (int u = 0; u < kU; ++u) {
      const int at = step + u * C::kWarps;
#pragma unroll
      for (int half = 0; half < kHalves; ++half) {
        rows[u][half] = make_uint4(0, 0, 0, 0);
        if (at < steps) rows[u][half] = ptx::ld_global_stream_16(a[half] + at * C::kStepK);
      }
    }
#pragma unroll
    for (int u = 0; u < kU; ++u) {
      // Past the end: rows of zeros, times a step that exists.
      const int at = min(step + u * C::kWarps, steps - 1);
#pragma unroll
      for (int j = 0; j < kBlocks; ++j) {
        const uint4 column = load_w(j, at * C::kStepK);
#pragma unroll
        for (int i = 0; i < C::kRowBlocks; ++i)
          narrow_gemm_step(acc[i][j], rows[u][2 * i], rows[u][2 * i + 1], column);
      }
    }
  }
  if (p.k % C::kStepK != 0 && warp == 0) {
    const int64_t k = p.k / C::kStepK * C::kStepK;
    const bool inside = k + lane_k < p.k;
    uint4 rows[kHalves];
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
      rows[half] = make_uint4(0, 0, 0, 0);
      if (inside) rows[half] = ptx::ld_global_stream_16(a[half] + k);
    }
#pragma unroll
    for (int j = 0; j < kBlocks; ++j) {
      const uint4 column = inside ? load_w(j, k) : make_uint4(0, 0, 0, 0);
#pragma unroll
      for (int i = 0; i < C::kRowBlocks; ++i)
        narrow_gemm_step(acc[i][j], rows[2 * i], rows[2 * i + 1], column);
    }
  }

  auto* const sums = reinterpret_cast<float*>(smem);
#pragma unroll
  for (int i = 0; i < C::kRowBlocks; ++i) {
#pragma unroll
    for (int j = 0; j < kBlocks; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int row = 16 * i + accumulator_row(lane) + 8 * (e / 2);
        const int col = 8 * j + accumulator_column(lane) + e % 2;
        sums[(warp * C::kRows + row) * C::kColumns + col] = acc[i][j][e];
      }
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < C::kRows * C::kColumns; i += C::kThreads) {
    const int64_t row = row0 + i / C::kColumns;
    if (row >= p.m) break;
    float sum = 0.0f;
#pragma unroll
    for (int each = 0; each < C::kWarps; ++each) sum += sums[each * C::kRows * C::kColumns + i];
    const int64_t at = row * p.ldo + i % C::kColumns;
    if (p.out_type == DType::kF32) {
      static_cast<float*>(p.out)[at] = sum;
    } else {
      static_cast<__nv_bfloat16*>(p.out)[at] = __float2bfloat16_rn(sum);
    }
  }
}

}  // namespace intaglio::cuda
