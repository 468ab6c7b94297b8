// The low-rank branch of s8_gemm_params.h, added to sums that are on their way out.
//
// One bf16 product m16n8k16 takes 16 of the rank for a block of 8 columns, in the layout in which
// the block lies already: at rank 16 that is 1 / 288 of the instructions of an int8 product of
// k 4608. Operands come from global memory, which L1 and L2 hold: a row is read by the blocks of a
// tile's rows or columns. k may be permuted at will as long as both operands agree, so a lane loads
// 8 bytes, k 4t .. 4t + 3, and uses them as the k 2t, 2t + 1 and 8 + 2t, 9 + 2t of the instruction.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "ops/cuda/ptx/mma_bf16.cuh"
#include "ops/cuda/s8_gemm_params.h"

namespace intaglio::cuda {

__device__ __forceinline__ float bf16_bits_to_float(uint32_t bits) {
  return __uint_as_float(bits << 16);
}

// Columns col, col + 1 of one row, element by element: for kernels that hold no blocks. Columns
// past the last read a valid neighbour: what comes of them is never stored.
__device__ __forceinline__ float2 side_branch_pair(const S8GemmParams& p, int row, int col) {
  float2 sum{0.0f, 0.0f};
  const uint16_t* const x = p.side_x + int64_t{min(row, p.m - 1)} * p.side_rank;
  const uint16_t* const w0 = p.side_w + int64_t{min(col, p.n - 1)} * p.side_rank;
  const uint16_t* const w1 = p.side_w + int64_t{min(col + 1, p.n - 1)} * p.side_rank;
  for (int r = 0; r < p.side_rank; ++r) {
    const float value = bf16_bits_to_float(__ldg(x + r));
    sum.x = __fmaf_rn(value, bf16_bits_to_float(__ldg(w0 + r)), sum.x);
    sum.y = __fmaf_rn(value, bf16_bits_to_float(__ldg(w1 + r)), sum.y);
  }
  return sum;
}

// y[j]: rows `row` (this lane's) and row + 8, columns col0 + 8 j + 2 t and + 1, as acc[j] in
// tile/epilogue.cuh. All 32 lanes call it. Rows and columns past the last read valid neighbours.
template <int kBlocks>
__device__ __forceinline__ void add_side_branch(float (&y)[kBlocks][4], const S8GemmParams& p,
                                                int lane, int row, int col0) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800  // no bf16 product
#pragma unroll 1
  for (int j = 0; j < kBlocks; ++j) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float2 sum = side_branch_pair(p, row + 8 * half, col0 + 8 * j + lane % 4 * 2);
      // Not y[j]: an index that is not known would put y into local memory.
#pragma unroll
      for (int i = 0; i < kBlocks; ++i) {
        y[i][2 * half] += i == j ? sum.x : 0.0f;
        y[i][2 * half + 1] += i == j ? sum.y : 0.0f;
      }
    }
  }
#else
  const auto piece = [&](const uint16_t* rows, int at, int rows_end, int r) {
    const uint32_t offset = static_cast<uint32_t>(min(at, rows_end - 1) * p.side_rank + r);
    return __ldg(reinterpret_cast<const uint2*>(rows + lane % 4 * 4 + offset));
  };
#pragma unroll 1
  for (int r = 0; r < p.side_rank; r += 16) {
    const uint2 low = piece(p.side_x, row, p.m, r), high = piece(p.side_x, row + 8, p.m, r);
    const uint32_t rows[4] = {low.x, high.x, low.y, high.y};
#pragma unroll
    for (int j = 0; j < kBlocks; ++j) {
      const uint2 column = piece(p.side_w, col0 + 8 * j + lane / 4, p.n, r);
      ptx::mma_m16n8k16_bf16(y[j], rows, column.x, column.y);
    }
  }
#endif
}

}  // namespace intaglio::cuda
