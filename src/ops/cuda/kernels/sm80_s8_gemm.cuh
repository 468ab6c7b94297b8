// sm80_s8_gemm: int8 x int8 -> int32 matrix product by mma.sync, with the epilogue fused. For
// sm_80, 86, 89, 120, and sm_90 without wgmma.
//
//   acc[m, n] = sum_k a[m, k] * w[n, k]           exact; then the epilogue of s8_gemm_params.h, rounded step by step (tile/epilogue.cuh)
//
// Both operands are row-major in k, which is what mma.m16n8k32.row.col wants: no transpose
// anywhere.
//
//        k -->                           One block: kTileM x kTileN outputs. One warp: kWarpM x kWarpN in registers.
//      +-------+                         kStages slots of shared memory, each a k tile of A and of W, filled by cp.async, 16 bytes a
//   m  | A     |--+                      thread, swizzled (tile/swizzle.h); ldmatrix takes fragments from there to registers.
//      +-------+  |   +---+---+---+---+
//      +-------+  +-->| w0  w1  w2  w3|  A step is one m16 row of a warp's tile in one k32 slice: one A fragment, kNi products.
//   n  | W     |----->| w4  w5  w6  w7|
//      +-------+      +---+---+---+---+
//
//   k tile t:   slice 0 | slice 1 ... | last slice
//                                     ^ wait for k tile t + 1, barrier; a slot is free now
//   copies of k tile t + kTilesAhead: from this barrier to the next, evenly over the steps
//
// kSliceAhead (up to 128 accumulators): the fragments of a slice are loaded during the slice
// before. At the barrier nobody reads k tile t any more: its slot is free. Else: the A fragment of
// a step is loaded in the step before it, the W fragments as those of the last slice are used up;
// the last slice still reads k tile t, and the slot that is free is that of k tile t - 1.
//
// One barrier a k tile serves both ends of the ring: it is placed before the last slice, when
// nobody needs the next k tile yet, so warps may drift apart by almost a whole tile.
//
// Blocks are persistent and walk through tiles (tile/raster.h); the copies run ahead across the end
// of a tile, so the next tile's operands arrive during the epilogue. Split-K work items write int32
// partial sums (kernels/s8_reduce.cuh).
//
// Ragged edges: k is filled with zeros by cp.async; rows of A and W past the end repeat the last
// row and their outputs are not stored. kAligned = false copies byte by byte, for rows that do not
// start at multiples of 16 bytes: right, and slow.
//
// What bounds it. One instruction is 4096 products. Per instruction, bytes of shared memory:
// fragments 32 (kWarpM + kWarpN) / (kMi * kNi), copies 32 (kTileM + kTileN) * 128 / (kTileM *
// kTileN). An SM moves 128 bytes a cycle. It can issue an instruction every 2 cycles on sm_80 and
// every 4 on sm_86, 89 and 120 (data sheet rates), every 1.7 on sm_90 (measured).
//
//   tile (warp)          fragments + copies     cycles of shared memory an instruction    copies from L2 at 1000 TOP/s
//   192x256 (96x64)      107 + 37 = 144 B       1.13                                      4.6 TB/s
//   128x256 (64x64)      128 + 48 = 176 B       1.38                                      5.9 TB/s
//   128x128 (64x64)      128 + 64 = 192 B       1.50                                      7.8 TB/s
//
// So on sm_90 shared memory is 70 to 94% busy and L2 is near its limit; on sm_80 it is 56 to 75%,
// on sm_86 28 to 38%. Larger warp tiles pay: 96 x 64 is the largest whose 192 accumulators and
// fragments fit 255 registers.
// Measured on an H100 (bench/cuda/check_sm80_s8_gemm.cu, bench/results/h100_sm80_s8_gemm.json): 838
// to 944 TOP/s on Ideogram 4's linears; versions, predictions and outcomes are in
// docs/kernels/s8_gemm.md.
#pragma once

#include <cstdint>

#include "ops/cuda/ptx/cp_async.cuh"
#include "ops/cuda/ptx/global_memory.cuh"
#include "ops/cuda/ptx/ldmatrix.cuh"
#include "ops/cuda/ptx/mma_s8.cuh"
#include "ops/cuda/ptx/shared_memory.cuh"
#include "ops/cuda/s8_gemm_params.h"
#include "ops/cuda/tile/epilogue.cuh"
#include "ops/cuda/tile/mma_layout.h"
#include "ops/cuda/tile/raster.h"
#include "ops/cuda/tile/swizzle.h"

namespace intaglio::cuda {

template <int kTileM_, int kTileN_, int kTileK_, int kWarpM_, int kWarpN_, int kStages_,
          int kCtasPerSm_ = 1, bool kAligned_ = true>
struct Sm80S8GemmConfig {
  static constexpr int kTileM = kTileM_, kTileN = kTileN_, kTileK = kTileK_;
  static constexpr int kWarpM = kWarpM_, kWarpN = kWarpN_;  // what one warp computes
  static constexpr int kStages = kStages_, kCtasPerSm = kCtasPerSm_;
  static constexpr bool kAligned = kAligned_;

  static constexpr int kWarpsN = kTileN / kWarpN;
  static constexpr int kThreads = 32 * (kTileM / kWarpM) * kWarpsN;
  static constexpr int kMi = kWarpM / 16, kNi = kWarpN / 8, kKi = kTileK / 32;
  static constexpr int kABytes = kTileM * kTileK, kWBytes = kTileN * kTileK;
  static constexpr int kStageBytes = kABytes + kWBytes;
  static constexpr int kSmemBytes = kStages * kStageBytes;
  // One pass of the block copies kPassRows rows; a thread keeps its chunk column and its place in
  // the swizzle from pass to pass.
  static constexpr int kPassRows = kThreads * kChunkBytes / kTileK;
  static constexpr int kAPasses = (kTileM + kPassRows - 1) / kPassRows;
  static constexpr int kWPasses = (kTileN + kPassRows - 1) / kPassRows;
  // Up to 128 accumulators leave room for the fragments of two whole slices and for the row offsets
  // of all passes.
  static constexpr bool kSliceAhead = kMi * kNi * 4 <= 128;
  // k tiles between the one that is read and the one that is copied after its barrier.
  static constexpr int kTilesAhead = kSliceAhead ? kStages : kStages - 1;

  static_assert(kTileM % kWarpM == 0 && kTileN % kWarpN == 0 && kWarpM % 16 == 0);
  static_assert(kWarpN % 32 == 0, "the epilogue works by 32 columns");
  static_assert(kKi % 2 == 0, "fragment buffers alternate by step and start every k tile at 0");
  static_assert(kTilesAhead >= 2, "one tile has landed, one is on its way");
  static_assert(kPassRows % 8 == 0, "the swizzle repeats every 8 rows");
  static_assert(kTileM % kPassRows == 0 || kTileM < kPassRows);
  static_assert(kTileN % kPassRows == 0 || kTileN < kPassRows);
};

struct Sm80S8GemmArgs {
  S8GemmParams p;  // with splits > 1: out is [splits][m, ldo] int32 in the workspace, out_type kI32
  int32_t tiles_m, tiles_n, group_n;
  int32_t k_tiles, k_tiles_per_split, splits;
};

struct Sm80WorkItem {
  int m0, n0, split;
  int k_begin, k_end;  // k tiles
};

template <class C>
__device__ __forceinline__ Sm80WorkItem sm80_work_item(const Sm80S8GemmArgs& args, int index) {
  const int tiles = args.tiles_m * args.tiles_n;
  const int split = index / tiles;
  const TileCoord tile =
      raster_tile(index - split * tiles, args.tiles_m, args.tiles_n, args.group_n);
  const int k_begin = split * args.k_tiles_per_split;
  return {tile.m * C::kTileM, tile.n * C::kTileN, split, k_begin,
          min(args.k_tiles, k_begin + args.k_tiles_per_split)};
}

// Copies k tiles to shared memory, one after the other through all work items of the block: it is
// kTilesAhead k tiles ahead of the products, so the next item's first tiles arrive while this one's
// last products and its epilogue run.
template <class C>
struct Sm80TileLoader {
  const Sm80S8GemmArgs& args;
  static constexpr int kPasses = C::kAPasses + C::kWPasses;

  uint32_t dst;                                        // this thread's first chunk in slot 0
  int thread_row, chunk_k;                             // this thread's place in a pass
  uint32_t row_offsets[C::kSliceAhead ? kPasses : 1];  // offset(pass), where registers hold them
  uint32_t slot_bytes;  // from here on the same in all threads: offset of the slot to fill
  int m0, n0, k0;       // where the k tile begins
  int work, tile, tile_end;

  __device__ __forceinline__ Sm80TileLoader(const Sm80S8GemmArgs& args_, uint32_t smem)
      : args(args_), slot_bytes(0), work(blockIdx.x) {
    constexpr int kChunks = Swizzle<C::kTileK>::kChunks;
    const int chunk = threadIdx.x % kChunks;
    thread_row = threadIdx.x / kChunks;
    dst = smem + Swizzle<C::kTileK>::offset(thread_row, chunk);
    chunk_k = chunk * kChunkBytes;
    m0 = n0 = 0;
    begin_item();
  }

  __device__ __forceinline__ void begin_item() {
    if (work >= args.tiles_m * args.tiles_n * args.splits) {
      // Nothing left: from here on the copies fill with zeros and read nothing, and the main loop
      // needs no branch for it.
      k0 = args.p.k;
      tile = 0;
      tile_end = 0x7fffffff;
    } else {
      const Sm80WorkItem item = sm80_work_item<C>(args, work);
      m0 = item.m0;
      n0 = item.n0;
      tile = item.k_begin;
      tile_end = item.k_end;
      k0 = tile * C::kTileK;
    }
    if constexpr (C::kAligned && C::kSliceAhead) {
#pragma unroll
      for (int pass = 0; pass < kPasses; ++pass) row_offsets[pass] = offset(pass);
    }
  }

  // This thread's row in a pass. Rows past the end repeat the last one: their products go to
  // outputs that are not stored.
  __device__ __forceinline__ int row(int pass) const {
    return pass < C::kAPasses
               ? min(m0 + pass * C::kPassRows + thread_row, args.p.m - 1)
               : min(n0 + (pass - C::kAPasses) * C::kPassRows + thread_row, args.p.n - 1);
  }

  // From the matrix's first byte to this thread's chunk of a k tile at 0. The launcher refuses
  // matrices of 4 GiB and more.
  __device__ __forceinline__ uint32_t offset(int pass) const {
    const int64_t ld = pass < C::kAPasses ? args.p.lda : args.p.ldw;
    return static_cast<uint32_t>(row(pass)) * static_cast<uint32_t>(ld) + chunk_k;
  }

  __device__ __forceinline__ void copy_chunk(uint32_t to, int pass) const {
    const int8_t* base = pass < C::kAPasses ? args.p.a : args.p.w;
    const int bytes = max(0, min(kChunkBytes, args.p.k - k0 - chunk_k));
    if constexpr (C::kAligned) {
      const uint32_t row_offset =
          C::kSliceAhead ? row_offsets[C::kSliceAhead ? pass : 0] : offset(pass);
      ptx::cp_async_16(to, base + k0 + row_offset, bytes);
    } else {
      const int64_t ld = pass < C::kAPasses ? args.p.lda : args.p.ldw;
      const int8_t* from = base + int64_t{row(pass)} * ld + k0 + chunk_k;
      uint32_t words[4] = {};
#pragma unroll
      for (int i = 0; i < kChunkBytes; ++i) {
        if (i >= bytes) continue;
        words[i / 4] |= static_cast<uint32_t>(static_cast<uint8_t>(from[i])) << (i % 4 * 8);
      }
      ptx::st_shared_16(to, make_uint4(words[0], words[1], words[2], words[3]));
    }
  }

  // Pass `pass` of kPasses of the current k tile.
  __device__ __forceinline__ void copy_pass(int pass) const {
    const bool of_a = pass < C::kAPasses;
    const int rows = of_a ? C::kTileM : C::kTileN;
    const int index = of_a ? pass : pass - C::kAPasses;
    if (rows >= C::kPassRows || thread_row < rows) {
      copy_chunk(dst + slot_bytes + (of_a ? 0 : C::kABytes) + index * C::kPassRows * C::kTileK,
                 pass);
    }
  }

  // Ends the group of the current k tile and steps to the next one.
  __device__ __forceinline__ void finish_tile() {
    ptx::cp_async_commit();
    slot_bytes = slot_bytes == (C::kStages - 1) * C::kStageBytes ? 0 : slot_bytes + C::kStageBytes;
    k0 += C::kTileK;
    if (++tile == tile_end) {
      work += gridDim.x;
      begin_item();
    }
  }
};

// The epilogue has no registers left to load its scales early. Asked for when the item begins, they
// are in L1 when it ends.
template <class C>
__device__ __forceinline__ void prefetch_scales(const S8GemmParams& p, const Sm80WorkItem& item) {
  if (p.out_type == DType::kI32) return;
  constexpr int kSector = 8;  // floats in 32 bytes
  for (int i = threadIdx.x * kSector; i < C::kTileM; i += C::kThreads * kSector) {
    if (item.m0 + i < p.m) ptx::prefetch_l1(p.a_scale_row + item.m0 + i);
  }
  for (int i = threadIdx.x * kSector; i < C::kTileN; i += C::kThreads * kSector) {
    if (item.n0 + i >= p.n) break;
    ptx::prefetch_l1(p.w_scale_col + item.n0 + i);
    if (p.bias != nullptr) ptx::prefetch_l1(p.bias + item.n0 + i);
  }
}

// What a block may have of shared memory; configs above it are not compiled for the architecture,
// and the launcher refuses them.
#if defined(__CUDA_ARCH__) && \
    (__CUDA_ARCH__ == 860 || __CUDA_ARCH__ == 890 || __CUDA_ARCH__ >= 1200)
inline constexpr int kSm80SharedLimit = 99 * 1024;
#else
inline constexpr int kSm80SharedLimit = 163 * 1024;
#endif

template <class C>
__device__ __forceinline__ void sm80_s8_gemm_block(const Sm80S8GemmArgs& args) {
  using Sw = Swizzle<C::kTileK>;
  constexpr int kMi = C::kMi, kNi = C::kNi, kKi = C::kKi;
  constexpr bool kSliceAhead = C::kSliceAhead;
  constexpr int kPasses = Sm80TileLoader<C>::kPasses;

  extern __shared__ __align__(kBankLineBytes) int8_t smem[];
  const uint32_t smem_base = ptx::shared_address(smem);
  // The shuffle tells the compiler that `warp` is the same in all lanes: what follows from it needs
  // no per-lane register or branch.
  const int lane = threadIdx.x % 32, warp = __shfl_sync(0xffffffffu, threadIdx.x / 32, 0);
  const int warp_m = warp / C::kWarpsN * C::kWarpM, warp_n = warp % C::kWarpsN * C::kWarpN;

  // Where this lane's ldmatrix rows start in slot 0; 16 rows on is a constant away.
  const RowChunk a_source = a_fragment_source(lane), b_source = b_fragment_source(lane);
  const uint32_t a_base = smem_base + Sw::offset(warp_m + a_source.row, a_source.chunk);
  const uint32_t b_base =
      smem_base + C::kABytes + Sw::offset(warp_n + b_source.row, b_source.chunk);

  // The copies of a k tile are spread evenly over the kSteps steps (one m16 row of one k32 slice
  // each) from one barrier to the next. The barrier lies before the last slice, so a tile's copies
  // begin there and end in the slices before the next one.
  constexpr int kSteps = kKi * kMi;
  Sm80TileLoader<C> loader(args, smem_base);
  const auto copy_step = [&](int step) {
#pragma unroll
    for (int pass = step * kPasses / kSteps; pass < (step + 1) * kPasses / kSteps; ++pass) {
      loader.copy_pass(pass);
    }
  };
  for (int tile = 0; tile < C::kTilesAhead - 1; ++tile) {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) copy_step(step);
    loader.finish_tile();
  }
#pragma unroll
  for (int mi = 0; mi < kMi; ++mi) copy_step(mi);
  ptx::cp_async_wait<C::kTilesAhead - 2>();
  __syncthreads();

  int32_t acc[kMi][kNi][4];
  // Fragments of this k32 slice and the next. With 192 accumulators the registers hold the A
  // fragments of this step and the next only, and one set of W fragments: each pair is overwritten
  // right after its last product of a slice; the products of the other pairs cover the load.
  uint32_t a[2][kSliceAhead ? kMi : 1][4];
  uint32_t b[kSliceAhead ? 2 : 1][kNi / 2][4];
  uint32_t slot = 0;  // offset of the slot being read

  const auto load_a = [&](uint32_t(&to)[4], uint32_t slot_offset, int ki, int mi) {
    ptx::ldmatrix_x4(to, Sw::at_chunk_pair(a_base, ki) + slot_offset + mi * 16 * C::kTileK);
  };
  const auto load_b = [&](uint32_t(&to)[4], uint32_t slot_offset, int ki, int pair) {
    ptx::ldmatrix_x4(to, Sw::at_chunk_pair(b_base, ki) + slot_offset + pair * 16 * C::kTileK);
  };

  const int work_end = args.tiles_m * args.tiles_n * args.splits;
#pragma unroll 1
  for (int work = blockIdx.x; work < work_end; work += gridDim.x) {
    const Sm80WorkItem item = sm80_work_item<C>(args, work);
    prefetch_scales<C>(args.p, item);
#pragma unroll
    for (int mi = 0; mi < kMi; ++mi) {
#pragma unroll
      for (int ni = 0; ni < kNi; ++ni) {
#pragma unroll
        for (int e = 0; e < 4; ++e) acc[mi][ni][e] = 0;
      }
    }
    // Loaded afresh for every item, so that no fragment lives through the epilogue, where registers
    // are short.
#pragma unroll
    for (int mi = 0; mi < (kSliceAhead ? kMi : 1); ++mi) load_a(a[0][mi], slot, 0, mi);
#pragma unroll
    for (int pair = 0; pair < kNi / 2; ++pair) load_b(b[0][pair], slot, 0, pair);

#pragma unroll 1
    for (int tile = item.k_begin; tile < item.k_end; ++tile) {
      const uint32_t next_slot =
          slot == (C::kStages - 1) * C::kStageBytes ? 0 : slot + C::kStageBytes;
#pragma unroll
      for (int ki = 0; ki < kKi; ++ki) {
        const bool last_ki = ki == kKi - 1;
        if (last_ki) {
          // From here on the next k tile is read and a free slot is filled: this tile's, if its
          // last fragments are loaded, else the previous one's. The wait covers this thread's
          // copies of the next tile; the barrier covers everyone's, and says that everyone has left
          // the slot.
          loader.finish_tile();
          ptx::cp_async_wait<C::kTilesAhead - 2>();
          __syncthreads();
        }
        const uint32_t ahead_slot = last_ki ? next_slot : slot;
        const int ahead_ki = last_ki ? 0 : ki + 1;
#pragma unroll
        for (int mi = 0; mi < kMi; ++mi) {
          const int step = ki * kMi + mi;
          if constexpr (kSliceAhead) {
            load_a(a[(ki + 1) % 2][mi], ahead_slot, ahead_ki, mi);
#pragma unroll
            for (int pair = mi * (kNi / 2) / kMi; pair < (mi + 1) * (kNi / 2) / kMi; ++pair) {
              load_b(b[(ki + 1) % 2][pair], ahead_slot, ahead_ki, pair);
            }
          } else if (mi == kMi - 1) {
            load_a(a[(step + 1) % 2][0], ahead_slot, ahead_ki, 0);
          } else {
            load_a(a[(step + 1) % 2][0], slot, ki, mi + 1);
          }
          copy_step(last_ki ? mi : (ki + 1) * kMi + mi);
          const uint32_t(&rows)[4] = kSliceAhead ? a[ki % 2][kSliceAhead ? mi : 0] : a[step % 2][0];
#pragma unroll
          for (int pair = 0; pair < kNi / 2; ++pair) {
            uint32_t(&w)[4] = b[kSliceAhead ? ki % 2 : 0][pair];
            ptx::mma_m16n8k32_s8(acc[mi][2 * pair], rows, w[0], w[1]);
            ptx::mma_m16n8k32_s8(acc[mi][2 * pair + 1], rows, w[2], w[3]);
            if (!kSliceAhead && mi == kMi - 1) load_b(w, ahead_slot, ahead_ki, pair);
          }
        }
      }
      slot = next_slot;
    }

    S8GemmParams p = args.p;
    if (args.splits > 1) {
      p.out = static_cast<int32_t*>(p.out) + int64_t{item.split} * p.m * p.ldo;
    }
    write_warp_tile<kMi, kNi>(p, lane, item.m0 + warp_m, item.n0 + warp_n, acc);
  }
  // Copies of zeros may still be on their way to this block's shared memory.
  ptx::cp_async_wait<0>();
}

template <class C>
__global__ void __launch_bounds__(C::kThreads, C::kCtasPerSm)
    sm80_s8_gemm_kernel(const __grid_constant__ Sm80S8GemmArgs args) {
  if constexpr (C::kSmemBytes <= kSm80SharedLimit) sm80_s8_gemm_block<C>(args);
}

}  // namespace intaglio::cuda
