// sm80_conv2d: 2-D convolution of a channels-last bf16 picture by mma.sync, as an implicit matrix
// product. sm_80 and up.
//
//   y[pixel, o] = sum over taps t, channels c of x[pixel + shift(t), c] * w[o, t, c]      float sums; then + bias[o] (+ add[pixel, o]), each rounded
//
// M: pixels of x, numbered row by row (for an upsampled picture: of one phase, conv2d_params.h). N:
// output channels. K: taps x channels. The matrix of windows is never written anywhere: a row of
// its k tile is a run of channels of one shifted pixel, which cp.async takes from the picture.
//
//        k: tap 0 | tap 1 | ... (a tap's channels in k tiles)      One block: kTileM x kTileN outputs. One warp: kWarpM x kWarpN in registers.
//      +-----------------+                                         kStages slots of shared memory, each a k tile of pixels and one of weights,
//   m  | shifted pixels  |--+                                      filled by cp.async, 16 bytes a thread, swizzled (tile/swizzle.h); ldmatrix
//      +-----------------+  |   +---+---+                          takes fragments from there to registers.
//      +-----------------+  +-->| w0  w1|
//   n  | weights         |----->| w2  w3|
//      +-----------------+      +---+---+
//
// Addresses. Pixels are numbered row by row, so a tap shifts all rows of the tile by the same
// number of bytes, and rows a pass apart are a constant apart. A copy's address is therefore one
// number of the thread plus numbers that all threads share, and what remains of the picture's shape
// is one bit a row and tap: whether the shifted pixel lies inside. The bits are made once an output
// tile. Outside, cp.async fills with zeros and reads nothing; so it does for rows and output
// channels past the end, and when no tile is left.
//
// Order of work. All output channels (and phases) of a run of pixels come one after the other, so
// blocks that run at the same time share its channels and those of the rows beside it through L2;
// the weights (at most 9 MB in the decoders this is for) stay there.
//
// Pipeline, that of sm80_s8_gemm. A slice is 32 bytes of k, 16 channels: one mma deep.
//
//   k tile t:   slice 0 | slice 1 ... | last slice
//                                     ^ wait for k tile t + 1, barrier; t's slot is free: fragments
//                                     are loaded a slice ahead
//   copies of k tile t + kStages: from this barrier to the next, evenly over the steps
//
// Blocks are persistent; the copies run ahead across the end of an output tile, so the next tile's
// operands arrive during the epilogue.
//
// What bounds it. One instruction is 2048 products. Bytes of shared memory an instruction:
// fragments 32 (kWarpM + kWarpN) / (kMi * kNi), copies 4096 (1 / kTileM + 1 / kTileN): with warps
// of 64 x 64, 128 + 48 for tiles of 256 x 128 and 128 + 64 for 128 x 128. That is the traffic of
// sm80_s8_gemm, whose instructions take as long as these, so the same share of the tensor cores'
// peak is to be expected. The copies come from L2: each pixel is read once a tap.
//
// Epilogue: lanes exchange 4 x 4 pieces (tile/conv2d_epilogue.cuh), so each stores, and first loads
// of `add`, 16 bytes; no shared memory, no barrier. kAnyChannels: pixels that do not start at
// multiples of 16 bytes are copied number by number: right, and slow.
#pragma once

#include <cstdint>

#include "ops/cuda/conv2d_params.h"
#include "ops/cuda/ptx/cp_async.cuh"
#include "ops/cuda/ptx/global_memory.cuh"
#include "ops/cuda/ptx/ldmatrix.cuh"
#include "ops/cuda/ptx/mma_bf16.cuh"
#include "ops/cuda/ptx/shared_memory.cuh"
#include "ops/cuda/tile/conv2d_epilogue.cuh"
#include "ops/cuda/tile/mma_layout.h"
#include "ops/cuda/tile/swizzle.h"

namespace intaglio::cuda {

template <int kTileM_, int kTileN_, int kTileK_, int kWarpM_, int kWarpN_, int kStages_,
          int kCtasPerSm_ = 1, bool kAnyChannels_ = false>
struct Sm80Conv2dConfig {
  static constexpr int kTileM = kTileM_, kTileN = kTileN_;
  static constexpr int kTileK = kTileK_;                    // bytes: two a channel
  static constexpr int kWarpM = kWarpM_, kWarpN = kWarpN_;  // what one warp computes
  static constexpr int kStages = kStages_, kCtasPerSm = kCtasPerSm_;
  static constexpr bool kAnyChannels = kAnyChannels_;

  static constexpr int kWarpsN = kTileN / kWarpN;
  static constexpr int kThreads = 32 * (kTileM / kWarpM) * kWarpsN;
  static constexpr int kMi = kWarpM / 16, kNi = kWarpN / 8, kKi = kTileK / 32;
  static constexpr int kXBytes = kTileM * kTileK, kWBytes = kTileN * kTileK;
  static constexpr int kStageBytes = kXBytes + kWBytes;
  static constexpr int kSmemBytes = kStages * kStageBytes;
  // One pass of the block copies kPassRows rows; a thread keeps its chunk column and its place in
  // the swizzle from pass to pass.
  static constexpr int kPassRows = kThreads * kChunkBytes / kTileK;
  static constexpr int kXPasses = (kTileM + kPassRows - 1) / kPassRows;
  static constexpr int kWPasses = (kTileN + kPassRows - 1) / kPassRows;

  static_assert(kTileM % kWarpM == 0 && kTileN % kWarpN == 0);
  static_assert(kWarpM % 16 == 0 && kWarpN % 16 == 0, "one ldmatrix is 16 rows");
  static_assert(kMi * kNi * 4 <= 128, "beside more accumulators, fragments of two slices spill");
  static_assert(kKi % 2 == 0, "fragment buffers alternate by slice and start every k tile at 0");
  static_assert(kStages >= 3, "one tile is read, one has landed, one is on its way");
  static_assert(kPassRows % 8 == 0, "the swizzle repeats every 8 rows");
  static_assert(kTileM % kPassRows == 0 && (kTileN % kPassRows == 0 || kTileN < kPassRows));
  static_assert(kXPasses + kWPasses <= 32, "a bit each");
};

struct Sm80Conv2dArgs {
  Conv2dParams p;
  Conv2dGeometry g;
  int32_t tiles_m, tiles_n;  // of a phase
  int32_t k_tiles;           // taps * k tiles of a tap
};

struct Sm80Conv2dItem {
  int m0, n0, phase;
};

template <class C>
__device__ __forceinline__ Sm80Conv2dItem sm80_conv2d_item(const Sm80Conv2dArgs& args, int index) {
  const int columns = args.tiles_n * args.g.phases;
  const int column = index % columns;
  return {index / columns * C::kTileM, column % args.tiles_n * C::kTileN, column / args.tiles_n};
}

// Copies k tiles to shared memory, one after the other through all output tiles of the block.
template <class C>
struct Sm80Conv2dLoader {
  const Sm80Conv2dArgs& args;
  static constexpr int kPasses = C::kXPasses + C::kWPasses;

  uint32_t dst;                     // this thread's first chunk in slot 0
  int thread_row, chunk_bytes;      // this thread's place in a pass
  uint32_t x_offset, w_offset;      // bytes from x_tap and w_tap to this thread's chunk in pass 0
  uint32_t tap_masks[C::kXPasses];  // bit t: tap t of this thread's row of the pass lies inside x
  uint32_t w_rows;                  // bit i: this thread's row of pass i of the weights exists
  uint32_t valid, live;             // bit `pass`: has something to read in this tap, in this k tile
  // From here on the same in all threads. Where the k tile's channels of pixel 0 and of row 0 of
  // the weights are:
  const char *x_tap, *w_tap;
  int tap, channel_bytes_done;  // place of the k tile in the window
  uint32_t slot_bytes;          // offset of the slot to fill
  int work, phase;

  __device__ __forceinline__ Sm80Conv2dLoader(const Sm80Conv2dArgs& args_, uint32_t smem)
      : args(args_), slot_bytes(0), work(blockIdx.x) {
    constexpr int kChunks = Swizzle<C::kTileK>::kChunks;
    const int chunk = threadIdx.x % kChunks;
    thread_row = threadIdx.x / kChunks;
    dst = smem + Swizzle<C::kTileK>::offset(thread_row, chunk);
    chunk_bytes = chunk * kChunkBytes;
    begin_item();
  }

  __device__ __forceinline__ int pixel_bytes() const { return args.p.in_channels * 2; }
  __device__ __forceinline__ int tap_bytes() const { return args.g.channels_padded * 2; }

  __device__ __forceinline__ void begin_item() {
    // With nothing left every copy fills with zeros, and the main loop needs no branch for it.
    const bool any = work < args.tiles_m * args.tiles_n * args.g.phases;
    const Sm80Conv2dItem item = sm80_conv2d_item<C>(args, any ? work : 0);
    phase = item.phase;
    // Below 4 GiB for whatever is read (the launcher sees to it). Rows past the end may wrap; they
    // are not read.
    x_offset = static_cast<uint32_t>(item.m0 + thread_row) * static_cast<uint32_t>(pixel_bytes()) +
               chunk_bytes;
    w_offset = static_cast<uint32_t>(item.phase * args.p.out_channels + item.n0 + thread_row) *
                   static_cast<uint32_t>(args.g.taps * tap_bytes()) +
               chunk_bytes;
#pragma unroll
    for (int i = 0; i < C::kXPasses; ++i) {
      const int pixel = item.m0 + i * C::kPassRows + thread_row;
      tap_masks[i] = any ? conv2d_tap_mask(args.g, phase, pixel) : 0;
    }
    w_rows = 0;
#pragma unroll
    for (int i = 0; i < C::kWPasses; ++i) {
      if (any && item.n0 + i * C::kPassRows + thread_row < args.p.out_channels) w_rows |= 1u << i;
    }
    tap = 0;
    begin_tap();
  }

  __device__ __forceinline__ void begin_tap() {
    const int side = args.g.side;
    const int row = conv2d_first_row(args.g, phase) + tap / side;
    const int column = conv2d_first_column(args.g, phase) + tap % side;
    x_tap =
        static_cast<const char*>(args.p.x) + (int64_t{row} * args.g.width + column) * pixel_bytes();
    w_tap = static_cast<const char*>(args.p.w) + tap * tap_bytes();
    valid = w_rows << C::kXPasses;
#pragma unroll
    for (int i = 0; i < C::kXPasses; ++i) valid |= (tap_masks[i] >> tap & 1u) << i;
    channel_bytes_done = 0;
    begin_tile();
  }

  __device__ __forceinline__ void begin_tile() {
    live = channel_bytes_done + chunk_bytes < pixel_bytes() ? valid : 0u;
  }

  // Pixels that start anywhere: eight numbers at most, one by one.
  __device__ __forceinline__ void copy_numbers(uint32_t to, const char* from, bool exists) const {
    const int count = exists ? (pixel_bytes() - channel_bytes_done - chunk_bytes) / 2 : 0;
    uint32_t words[4] = {};
#pragma unroll
    for (int i = 0; i < kChunkBytes / 2; ++i) {
      if (i >= count) continue;
      words[i / 2] |= static_cast<uint32_t>(reinterpret_cast<const uint16_t*>(from)[i])
                      << (i % 2 * 16);
    }
    ptx::st_shared_16(to, make_uint4(words[0], words[1], words[2], words[3]));
  }

  // Pass `pass` of kPasses of the current k tile.
  __device__ __forceinline__ void copy_pass(int pass) const {
    const bool exists = (live >> pass & 1u) != 0;
    if (pass < C::kXPasses) {
      const uint32_t to = dst + slot_bytes + pass * C::kPassRows * C::kTileK;
      const char* from = x_tap + int64_t{pass} * C::kPassRows * pixel_bytes() + x_offset;
      if constexpr (C::kAnyChannels) {
        copy_numbers(to, from, exists);
      } else {
        ptx::cp_async_16(to, from, exists ? kChunkBytes : 0);
      }
    } else if (C::kTileN >= C::kPassRows || thread_row < C::kTileN) {
      const int i = pass - C::kXPasses;
      const char* from = w_tap + int64_t{i} * C::kPassRows * args.g.taps * tap_bytes() + w_offset;
      ptx::cp_async_16(dst + slot_bytes + C::kXBytes + i * C::kPassRows * C::kTileK, from,
                       exists ? kChunkBytes : 0);
    }
  }

  // Ends the group of the current k tile and steps to the next one.
  __device__ __forceinline__ void finish_tile() {
    ptx::cp_async_commit();
    slot_bytes = slot_bytes == (C::kStages - 1) * C::kStageBytes ? 0 : slot_bytes + C::kStageBytes;
    channel_bytes_done += C::kTileK;
    if (channel_bytes_done < pixel_bytes()) {
      x_tap += C::kTileK;
      w_tap += C::kTileK;
      begin_tile();
    } else if (++tap < args.g.taps) {
      begin_tap();
    } else {
      work += gridDim.x;
      begin_item();
    }
  }
};

// `add` comes from device memory. Asked for when the item begins, it is in L2 when it ends.
template <class C>
__device__ __forceinline__ void conv2d_prefetch_add(const Sm80Conv2dArgs& args,
                                                    const Sm80Conv2dItem& item) {
  if (args.p.add == nullptr || args.p.f32_out != 0) return;
  constexpr int kLineElements = 64;  // 128 bytes
  constexpr int kLines = C::kTileN < kLineElements ? 1 : C::kTileN / kLineElements;
  for (int i = threadIdx.x; i < C::kTileM * kLines; i += C::kThreads) {
    const int64_t at = conv2d_output_offset(args.p, args.g, item.phase, item.m0 + i / kLines);
    const int column = item.n0 + i % kLines * kLineElements;
    if (at >= 0 && column < args.p.out_channels)
      ptx::prefetch_l1(static_cast<const __nv_bfloat16*>(args.p.add) + at + column);
  }
}

// What a block may have of shared memory. Configs above it are not compiled for the architecture,
// and the launcher refuses them; before sm_80 there is neither cp.async nor this mma.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
inline constexpr int kSm80Conv2dSharedLimit = 0;
#elif defined(__CUDA_ARCH__) && \
    (__CUDA_ARCH__ == 860 || __CUDA_ARCH__ == 890 || __CUDA_ARCH__ >= 1200)
inline constexpr int kSm80Conv2dSharedLimit = 99 * 1024;
#else
inline constexpr int kSm80Conv2dSharedLimit = 163 * 1024;
#endif

template <class C>
__device__ __forceinline__ void sm80_conv2d_block(const Sm80Conv2dArgs& args) {
  using Sw = Swizzle<C::kTileK>;
  constexpr int kMi = C::kMi, kNi = C::kNi, kKi = C::kKi;
  constexpr int kPasses = Sm80Conv2dLoader<C>::kPasses;

  extern __shared__ __align__(kBankLineBytes) int8_t smem[];
  const uint32_t smem_base = ptx::shared_address(smem);
  // The shuffle tells the compiler that `warp` is the same in all lanes: what follows from it needs
  // no per-lane register or branch.
  const int lane = threadIdx.x % 32, warp = __shfl_sync(0xffffffffu, threadIdx.x / 32, 0);
  const int warp_m = warp / C::kWarpsN * C::kWarpM, warp_n = warp % C::kWarpsN * C::kWarpN;

  // Where this lane's ldmatrix rows start in slot 0; 16 rows on is a constant away. In bytes,
  // fragments of 16 bf16 are those of 32 int8.
  const RowChunk x_source = a_fragment_source(lane), w_source = b_fragment_source(lane);
  const uint32_t x_base = smem_base + Sw::offset(warp_m + x_source.row, x_source.chunk);
  const uint32_t w_base =
      smem_base + C::kXBytes + Sw::offset(warp_n + w_source.row, w_source.chunk);

  // The copies of a k tile are spread evenly over the kSteps steps (one m16 row of one slice each)
  // from one barrier to the next. The barrier lies before the last slice, so a tile's copies begin
  // there and end in the slices before the next one.
  constexpr int kSteps = kKi * kMi;
  Sm80Conv2dLoader<C> loader(args, smem_base);
  const auto copy_step = [&](int step) {
#pragma unroll
    for (int pass = step * kPasses / kSteps; pass < (step + 1) * kPasses / kSteps; ++pass) {
      loader.copy_pass(pass);
    }
  };
  for (int tile = 0; tile < C::kStages - 1; ++tile) {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) copy_step(step);
    loader.finish_tile();
  }
#pragma unroll
  for (int mi = 0; mi < kMi; ++mi) copy_step(mi);
  ptx::cp_async_wait<C::kStages - 2>();
  __syncthreads();

  float acc[kMi][kNi][4];
  uint32_t x[2][kMi][4], w[2][kNi / 2][4];  // fragments of this slice and the next
  uint32_t slot = 0;                        // offset of the slot being read
  const auto load_x = [&](int to, uint32_t slot_offset, int ki, int mi) {
    ptx::ldmatrix_x4(x[to][mi], Sw::at_chunk_pair(x_base, ki) + slot_offset + mi * 16 * C::kTileK);
  };
  const auto load_w = [&](int to, uint32_t slot_offset, int ki, int pair) {
    ptx::ldmatrix_x4(w[to][pair],
                     Sw::at_chunk_pair(w_base, ki) + slot_offset + pair * 16 * C::kTileK);
  };

  const bool blocks = kNi % 4 == 0 && conv2d_has_blocks(args.p);
  const int work_end = args.tiles_m * args.tiles_n * args.g.phases;
#pragma unroll 1
  for (int work = blockIdx.x; work < work_end; work += gridDim.x) {
    const Sm80Conv2dItem item = sm80_conv2d_item<C>(args, work);
    conv2d_prefetch_add<C>(args, item);
#pragma unroll
    for (int mi = 0; mi < kMi; ++mi) {
#pragma unroll
      for (int ni = 0; ni < kNi; ++ni) {
#pragma unroll
        for (int e = 0; e < 4; ++e) acc[mi][ni][e] = 0.0f;
      }
    }
    // Loaded afresh for every item, so that no fragment lives through the epilogue.
#pragma unroll
    for (int mi = 0; mi < kMi; ++mi) load_x(0, slot, 0, mi);
#pragma unroll
    for (int pair = 0; pair < kNi / 2; ++pair) load_w(0, slot, 0, pair);

#pragma unroll 1
    for (int tile = 0; tile < args.k_tiles; ++tile) {
      const uint32_t next_slot =
          slot == (C::kStages - 1) * C::kStageBytes ? 0 : slot + C::kStageBytes;
#pragma unroll
      for (int ki = 0; ki < kKi; ++ki) {
        const bool last_ki = ki == kKi - 1;
        if (last_ki) {
          // Nobody needs this k tile's slot any more: its last fragments are in registers. The wait
          // covers this thread's copies of the next tile; the barrier covers everyone's, and says
          // that everyone has left the slot, which the copies from here on fill.
          loader.finish_tile();
          ptx::cp_async_wait<C::kStages - 2>();
          __syncthreads();
        }
        const uint32_t ahead_slot = last_ki ? next_slot : slot;
        const int ahead_ki = last_ki ? 0 : ki + 1;
#pragma unroll
        for (int mi = 0; mi < kMi; ++mi) {
          load_x((ki + 1) % 2, ahead_slot, ahead_ki, mi);
#pragma unroll
          for (int pair = mi * (kNi / 2) / kMi; pair < (mi + 1) * (kNi / 2) / kMi; ++pair) {
            load_w((ki + 1) % 2, ahead_slot, ahead_ki, pair);
          }
          copy_step(last_ki ? mi : (ki + 1) * kMi + mi);
#pragma unroll
          for (int ni = 0; ni < kNi; ++ni) {
            const uint32_t(&four)[4] = w[ki % 2][ni / 2];
            ptx::mma_m16n8k16_bf16(acc[mi][ni], x[ki % 2][mi], four[ni % 2 * 2],
                                   four[ni % 2 * 2 + 1]);
          }
        }
      }
      slot = next_slot;
    }

    if (blocks) {
      if constexpr (kNi % 4 == 0)
        write_conv2d_blocks<kMi, kNi>(args.p, args.g, item.phase, lane, item.m0 + warp_m,
                                      item.n0 + warp_n, acc);
    } else {
      write_conv2d_numbers<kMi, kNi>(args.p, args.g, item.phase, lane, item.m0 + warp_m,
                                     item.n0 + warp_n, acc);
    }
  }
  // Copies of zeros may still be on their way to this block's shared memory.
  ptx::cp_async_wait<0>();
}

template <class C>
__global__ void __launch_bounds__(C::kThreads, C::kCtasPerSm)
    sm80_conv2d_kernel(const __grid_constant__ Sm80Conv2dArgs args) {
  if constexpr (C::kSmemBytes <= kSm80Conv2dSharedLimit) sm80_conv2d_block<C>(args);
}

}  // namespace intaglio::cuda
