// small_m_s8_gemm: 1 to 64 rows (AdaLN, time embedding), where the product is as fast as the
// weights are read.
//
//   acc[m, n] = sum_k a[m, k] * w[n, k], then the epilogue of s8_gemm_params.h
//
// Instruction: mma.m16n8k32 with the operands' roles swapped: 16 rows of W are its A, 8 rows of
// activations its B, so 8 rows cost no padding.
//
// Every byte of W goes from global memory to the registers of the one warp that needs it. k may be
// permuted at will as long as both operands agree, so a lane loads 16 consecutive bytes and uses
// its four words as if they were the k 4t.. and k 16 + 4t.. of two instructions:
//
//   64 bytes of a row:   | t=0: w0 w1 w2 w3 | t=1 ... | t=2 ... | t=3 ... |       t = lane % 4, row lane / 4
//                     first mma: w0, w1     second mma: w2, w3
//
// A warp load covers 8 rows x 64 bytes: whole sectors, no shared memory, no shuffles. kUnroll k64
// steps are loaded before the first use.
//
// A block owns 16 * kNBlocks columns; its 8 warps take k64 steps in turn and their int32 sums meet
// in shared memory (any order gives the same bits). `splits` > 1 spreads k over blocks as well; the
// partial sums go to the workspace and s8_reduce finishes.
//
// Floor: n * k bytes over the memory's rate; 4608 x 4608 at 3.0 TB/s: 7.1 us. In flight on one SM
// of an H100: 2 blocks x 8 warps x 4 KB = 64 KB, and 18 KB cover 700 ns of latency at its share of
// 3.35 TB/s. Activations come through L1: at 64 rows with two blocks of W rows a warp reads two
// bytes of activations per byte of W. Prediction: 75 to 85% of the floor's rate up to 16 rows, 60%
// at 64.
#pragma once

#include <cstdint>

#include "ops/cuda/ptx/global_memory.cuh"
#include "ops/cuda/ptx/mma_s8.cuh"
#include "ops/cuda/s8_gemm_params.h"
#include "ops/cuda/tile/epilogue.cuh"

namespace intaglio::cuda {

// kMBlocks: blocks of 8 rows of activations. kNBlocks: blocks of 16 rows of W.
template <int kMBlocks_, int kNBlocks_, int kUnroll_>
struct SmallMS8GemmConfig {
  static constexpr int kMBlocks = kMBlocks_, kNBlocks = kNBlocks_, kUnroll = kUnroll_;
  static constexpr int kTileM = 8 * kMBlocks, kTileN = 16 * kNBlocks;
  static constexpr int kWarps = 8, kThreads = 32 * kWarps;
  static constexpr int kStepK = 64;
  // Sums of one warp, [n][m]: m fastest. One word of padding per n row keeps the two reads of the
  // reduction off the same banks.
  static constexpr int kSumsLd = kTileM + 1;
  static constexpr int kSmemBytes = kWarps * kTileN * kSumsLd * 4;
  static_assert(kSmemBytes <= 48 * 1024);
};

struct SmallMS8GemmArgs {
  S8GemmParams p;  // with splits > 1: out is [splits][m, ldo] int32, out_type kI32
  int32_t splits;
  int32_t k_steps_per_split;
};

// The last, partial k64 step: 16 bytes of a row from k, zeros past the end.
__device__ __forceinline__ uint4 load_tail_16(const int8_t* row, int k, int k_end) {
  uint32_t words[4] = {};
#pragma unroll 1
  for (int i = 0; i < 16 && k + i < k_end; ++i) {
    const uint32_t shifted = static_cast<uint32_t>(static_cast<uint8_t>(row[k + i])) << (i % 4 * 8);
#pragma unroll
    for (int word = 0; word < 4; ++word) words[word] |= i / 4 == word ? shifted : 0;
  }
  return make_uint4(words[0], words[1], words[2], words[3]);
}

// One k64 step of one block: 16 rows of W (rows g: lo, g + 8: hi) times 8 rows of activations.
__device__ __forceinline__ void small_m_step(int32_t (&acc)[4], uint4 lo, uint4 hi, uint4 a) {
  const uint32_t first[4] = {lo.x, hi.x, lo.y, hi.y};
  const uint32_t second[4] = {lo.z, hi.z, lo.w, hi.w};
  ptx::mma_m16n8k32_s8(acc, first, a.x, a.y);
  ptx::mma_m16n8k32_s8(acc, second, a.z, a.w);
}

template <class C>
__global__ void __launch_bounds__(C::kThreads, 2)
    small_m_s8_gemm_kernel(const __grid_constant__ SmallMS8GemmArgs args) {
  constexpr int kM = C::kMBlocks, kN = C::kNBlocks, kU = C::kUnroll;
  const S8GemmParams& p = args.p;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int n0 = blockIdx.x * C::kTileN, m0 = blockIdx.z * C::kTileM, split = blockIdx.y;
  const int lane_k = lane % 4 * 16;

  // Rows past the end repeat the last one; their sums are not stored.
  const int8_t* w_rows[kN][2];
#pragma unroll
  for (int i = 0; i < kN; ++i) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = min(n0 + 16 * i + 8 * half + lane / 4, p.n - 1);
      w_rows[i][half] = p.w + int64_t{row} * p.ldw + lane_k;
    }
  }
  const int8_t* a_rows[kM];
#pragma unroll
  for (int j = 0; j < kM; ++j) {
    a_rows[j] = p.a + int64_t{min(m0 + 8 * j + lane / 4, p.m - 1)} * p.lda + lane_k;
  }

  int32_t acc[kN][kM][4] = {};
  const int step_begin = split * args.k_steps_per_split + warp;
  const int step_end = min(p.k / C::kStepK, (split + 1) * args.k_steps_per_split);
#pragma unroll 1
  for (int step = step_begin; step < step_end; step += C::kWarps * kU) {
    uint4 w[kU][kN][2];
#pragma unroll
    for (int u = 0; u < kU; ++u) {
      // Past the end of this block's share: zero weights, and activations of a step that exists.
      const int at = step + u * C::kWarps;
#pragma unroll
      for (int i = 0; i < kN; ++i) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          w[u][i][half] = make_uint4(0, 0, 0, 0);
          if (at < step_end) {
            w[u][i][half] = ptx::ld_global_stream_16(w_rows[i][half] + int64_t{at} * C::kStepK);
          }
        }
      }
    }
#pragma unroll
    for (int u = 0; u < kU; ++u) {
      const int at = min(step + u * C::kWarps, step_end - 1);
#pragma unroll
      for (int j = 0; j < kM; ++j) {
        const uint4 a = __ldg(reinterpret_cast<const uint4*>(a_rows[j] + int64_t{at} * C::kStepK));
#pragma unroll
        for (int i = 0; i < kN; ++i) small_m_step(acc[i][j], w[u][i][0], w[u][i][1], a);
      }
    }
  }
  if (p.k % C::kStepK != 0 && warp == 0 && split == args.splits - 1) {
    const int k = p.k / C::kStepK * C::kStepK, left = p.k - lane_k;
#pragma unroll
    for (int i = 0; i < kN; ++i) {
      const uint4 lo = load_tail_16(w_rows[i][0], k, left);
      const uint4 hi = load_tail_16(w_rows[i][1], k, left);
#pragma unroll
      for (int j = 0; j < kM; ++j)
        small_m_step(acc[i][j], lo, hi, load_tail_16(a_rows[j], k, left));
    }
  }

  // d rows are columns of the product: acc[i][j][e] is n = 16 i + g + 8 (e / 2), m = 8 j + 2 t + e
  // % 2.
  extern __shared__ __align__(16) int32_t sums[];
#pragma unroll
  for (int i = 0; i < kN; ++i) {
#pragma unroll
    for (int j = 0; j < kM; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int n = 16 * i + lane / 4 + 8 * (e / 2), m = 8 * j + lane % 4 * 2 + e % 2;
        sums[(warp * C::kTileN + n) * C::kSumsLd + m] = acc[i][j][e];
      }
    }
  }
  __syncthreads();

  S8GemmParams q = p;
  if (args.splits > 1) {
    q.out = static_cast<int32_t*>(q.out) + int64_t{split} * p.m * p.ldo;
  }
  const OutputView out = output_view(q);
  for (int index = threadIdx.x; index < C::kTileM * C::kTileN / 2; index += C::kThreads) {
    const int m = index / (C::kTileN / 2), n = index % (C::kTileN / 2) * 2;
    const int row = m0 + m, col = n0 + n;
    int32_t sum[2] = {};
    for (int i = 0; i < C::kWarps; ++i) {
      sum[0] += sums[(i * C::kTileN + n) * C::kSumsLd + m];
      sum[1] += sums[(i * C::kTileN + n + 1) * C::kSumsLd + m];
    }
    if (out.type == DType::kI32) {
      store_word_pair(out, row, col,
                      {static_cast<uint32_t>(sum[0]), static_cast<uint32_t>(sum[1])});
    } else {
      const float row_scale = load_row_scale(q, row);
      const ColumnPair columns = load_column_pair(q, col);
      const float2 y = q.side_rank > 0
                           ? scale_pair_with_side(q, row, col, {sum[0], sum[1]}, row_scale, columns)
                           : scale_pair(sum[0], sum[1], row_scale, columns);
      // Gated pairs are 16 columns apart: they go through the workspace.
      visit_plain(q.epilogue, [&](auto epilogue) {
        using Epilogue = decltype(epilogue);
        store_pair(out, row, col,
                   out.type == DType::kF32 ? activate_pair<ExactMath, Epilogue>(y)
                                           : activate_pair<FastMath, Epilogue>(y));
      });
    }
  }
}

}  // namespace intaglio::cuda
