// sm75_s8_gemm: int8 GEMM for Turing: mma.m8n8k16, no cp.async.
//
// One block computes 128 x 128 with 8 warps (2 x 4), 64 x 32 each, k tiles of 64 bytes in two slots
// of shared memory (32 KB). While a slot is multiplied, the next tile travels from global memory to
// registers (4 x 16 bytes a thread); it is stored to the other slot after the products.
//
//   registers <- global k tile i + 1 | products of slot i % 2 | registers -> slot (i + 1) % 2 |
//   barrier
//
// ldmatrix.x4 gives four m8 (or n8) x k16 fragments. Two m8n8 sums above one another are kept as
// one m16n8 block, so that the epilogue is that of mma.m16n8k32 (tile/epilogue.cuh). Swizzle:
// tile/swizzle.h.
//
// Shared memory per k16 and warp: 3 ldmatrix (1.5 KB) for 32 instructions of 1024 products, 48
// bytes an instruction. A T4's SM does one such instruction a cycle and reads 128 bytes of shared
// memory a cycle: 40% busy, so the tensor units bound it. Not measured: no such card here.
#pragma once

#include <cstdint>

#include "ops/cuda/ptx/ldmatrix.cuh"
#include "ops/cuda/ptx/mma_s8.cuh"
#include "ops/cuda/ptx/shared_memory.cuh"
#include "ops/cuda/s8_gemm_params.h"
#include "ops/cuda/tile/epilogue.cuh"
#include "ops/cuda/tile/raster.h"
#include "ops/cuda/tile/swizzle.h"

namespace intaglio::cuda {

struct Sm75S8GemmConfig {
  static constexpr int kTileM = 128, kTileN = 128, kTileK = 64;
  static constexpr int kWarpM = 64, kWarpN = 32, kThreads = 256;
  static constexpr int kWarpsN = kTileN / kWarpN;
  static constexpr int kABytes = kTileM * kTileK, kSlotBytes = kABytes + kTileN * kTileK;
  static constexpr int kSmemBytes = 2 * kSlotBytes;
  static constexpr int kPassRows = kThreads * kChunkBytes / kTileK;  // 64
  static constexpr int kAPasses = kTileM / kPassRows, kPasses = kAPasses + kTileN / kPassRows;
  static constexpr int kMi = kWarpM / 16, kNi = kWarpN / 8;
};

struct Sm75S8GemmArgs {
  S8GemmParams p;
  int32_t tiles_m, tiles_n, group_n, k_tiles;
  bool aligned;  // rows of a and w start at multiples of 16 bytes
};

// 16 bytes of a row from k, zeros past the end.
__device__ __forceinline__ uint4 sm75_load_chunk(const int8_t* row, int k, int k_end,
                                                 bool aligned) {
  if (aligned && k + kChunkBytes <= k_end) return __ldg(reinterpret_cast<const uint4*>(row + k));
  uint32_t words[4] = {};
#pragma unroll 1
  for (int i = 0; i < kChunkBytes && k + i < k_end; ++i) {
    const uint32_t shifted = static_cast<uint32_t>(static_cast<uint8_t>(row[k + i])) << (i % 4 * 8);
#pragma unroll
    for (int word = 0; word < 4; ++word) words[word] |= i / 4 == word ? shifted : 0;
  }
  return make_uint4(words[0], words[1], words[2], words[3]);
}

__global__ void __launch_bounds__(Sm75S8GemmConfig::kThreads)
    sm75_s8_gemm_kernel(const __grid_constant__ Sm75S8GemmArgs args) {
  using C = Sm75S8GemmConfig;
  using Sw = Swizzle<C::kTileK>;
  const S8GemmParams& p = args.p;
  extern __shared__ __align__(kBankLineBytes) int8_t smem[];
  const uint32_t smem_base = ptx::shared_address(smem);
  const int lane = threadIdx.x % 32, warp = __shfl_sync(0xffffffffu, threadIdx.x / 32, 0);
  const int warp_m = warp / C::kWarpsN * C::kWarpM, warp_n = warp % C::kWarpsN * C::kWarpN;
  const TileCoord tile = raster_tile(blockIdx.x, args.tiles_m, args.tiles_n, args.group_n);
  const int m0 = tile.m * C::kTileM, n0 = tile.n * C::kTileN;
  const int thread_row = threadIdx.x / Sw::kChunks, chunk = threadIdx.x % Sw::kChunks;

  uint4 staged[C::kPasses];
  const auto fetch = [&](int k_tile) {
    const int k = k_tile * C::kTileK + chunk * kChunkBytes;
#pragma unroll
    for (int pass = 0; pass < C::kPasses; ++pass) {
      const bool is_a = pass < C::kAPasses;
      const int row =
          thread_row + (is_a ? m0 + pass * C::kPassRows : n0 + (pass - C::kAPasses) * C::kPassRows);
      const int8_t* from = is_a ? p.a + int64_t{min(row, p.m - 1)} * p.lda
                                : p.w + int64_t{min(row, p.n - 1)} * p.ldw;
      staged[pass] = sm75_load_chunk(from, k, p.k, args.aligned);
    }
  };
  const auto store = [&](int slot) {
#pragma unroll
    for (int pass = 0; pass < C::kPasses; ++pass) {
      // A and W tiles lie one behind the other, so a pass goes on where the last one ended.
      *reinterpret_cast<uint4*>(smem + slot * C::kSlotBytes + pass * C::kPassRows * C::kTileK +
                                Sw::offset(thread_row, chunk)) = staged[pass];
    }
  };

  int32_t acc[C::kMi][C::kNi][4] = {};
  fetch(0);
  store(0);
  __syncthreads();
#pragma unroll 1
  for (int k_tile = 0; k_tile < args.k_tiles; ++k_tile) {
    const uint32_t slot = smem_base + k_tile % 2 * C::kSlotBytes;
    const bool more = k_tile + 1 < args.k_tiles;
    if (more) fetch(k_tile + 1);
#pragma unroll
    for (int k16 = 0; k16 < C::kTileK / 16; ++k16) {
      uint32_t a[2][4], b[4];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        ptx::ldmatrix_x4(a[i], slot + Sw::offset(warp_m + 32 * i + lane, k16));
      }
      ptx::ldmatrix_x4(b, slot + C::kABytes + Sw::offset(warp_n + lane, k16));
#pragma unroll
      for (int mi = 0; mi < C::kMi; ++mi) {
#pragma unroll
        for (int ni = 0; ni < C::kNi; ++ni) {
          int32_t(&d)[4] = acc[mi][ni];
          ptx::mma_m8n8k16_s8(d[0], d[1], a[mi / 2][mi % 2 * 2], b[ni]);
          ptx::mma_m8n8k16_s8(d[2], d[3], a[mi / 2][mi % 2 * 2 + 1], b[ni]);
        }
      }
    }
    if (more) store((k_tile + 1) % 2);
    // Everyone has read this slot and written the other: one barrier serves both.
    __syncthreads();
  }
  write_warp_tile<C::kMi, C::kNi>(p, lane, m0 + warp_m, n0 + warp_n, acc);
}

}  // namespace intaglio::cuda
