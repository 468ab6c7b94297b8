// The parts of sm80_attention.cuh that come before its registers: types, shared memory, sizes,
// copies.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <tuple>

#include "ops/cuda/attention_params.h"
#include "ops/cuda/ptx/cp_async.cuh"
#include "ops/cuda/ptx/mma_bf16.cuh"
#include "ops/cuda/ptx/mma_s8.cuh"
#include "ops/cuda/ptx/mma_u8s8.cuh"
#include "ops/cuda/ptx/softmax.cuh"
#include "ops/cuda/tile/swizzle.h"
#include "ops/s8_value_layout.h"

namespace intaglio::cuda {

// What the types of q and k decide.
struct BF16Scores {
  using Acc = float;
  static constexpr int kBytes = 2;
  static constexpr bool kScaled = false;
  static constexpr Acc kStart = 0.0f;
  static __device__ __forceinline__ void multiply(Acc (&acc)[4], const uint32_t (&a)[4],
                                                  uint32_t b0, uint32_t b1) {
    ptx::mma_m16n8k16_bf16(acc, a, b0, b1);
  }
  static __device__ __forceinline__ float value(Acc acc) { return acc; }
};

struct S8Scores {
  using Acc = int32_t;
  static constexpr int kBytes = 1;
  static constexpr bool kScaled = true;
  static constexpr Acc kStart = 0;
  static __device__ __forceinline__ void multiply(Acc (&acc)[4], const uint32_t (&a)[4],
                                                  uint32_t b0, uint32_t b1) {
    ptx::mma_m16n8k32_s8(acc, a, b0, b1);
  }
  // Through the bits of 1.5 * 2^23, whose unit in the last place is 1.
  static __device__ __forceinline__ float value(Acc acc) {
    return __fadd_rn(ptx::float_of_bits(static_cast<uint32_t>(acc) + 0x4b400000u), -12582912.0f);
  }
};

// What the type of v decides. kStepKeys: keys of one product.
struct BF16Values {
  static constexpr int kStepKeys = 16;
  static constexpr bool kScaled = false;
};
struct S8Values {
  static constexpr int kStepKeys = kS8ValueKeys;
  static constexpr bool kScaled = true;
  // Sums begin at the bits of 1.5 * 2^23: as a float they are it plus the sum, which is exact
  // because |sum| <= 32 * 255 * 127 < 2^22. One subtraction converts them.
  static constexpr int32_t kStart = 0x4b400000;
  static __device__ __forceinline__ float value(int32_t sum) {
    return __fadd_rn(ptx::float_of_bits(static_cast<uint32_t>(sum)), -12582912.0f);
  }
};

// Rows of 32 bytes and more in shared memory: eight consecutive rows at one 16-byte chunk lie in
// different banks (tile/swizzle.h), and so do 128 consecutive bytes of a row.
template <int kRowBytes_>
struct RowTile {
  static constexpr int kRowBytes = kRowBytes_;
  static constexpr int kChunks = kRowBytes / kChunkBytes;
  static_assert(kRowBytes == 32 || kRowBytes == 64 || kRowBytes == 128 || kRowBytes == 256 ||
                kRowBytes == 512);

  INTAGLIO_HOST_DEVICE static constexpr uint32_t offset(int row, int chunk) {
    if constexpr (kRowBytes < 128) return Swizzle<kRowBytes>::offset(row, chunk);
    return static_cast<uint32_t>(row * kRowBytes + (chunk ^ row % 8) * kChunkBytes);
  }
  // From the address of chunk c (c < 2) to that of chunk c + 2 * pair of the same row. XOR within
  // 128 bytes, from there on the swizzle changes nothing and the distance is a constant of the
  // instruction. The tile starts at a multiple of 128 bytes.
  INTAGLIO_HOST_DEVICE static constexpr uint32_t at_chunk_pair(uint32_t address, int pair) {
    return (address ^ static_cast<uint32_t>(pair % 4 * 32)) + static_cast<uint32_t>(pair / 4 * 128);
  }
};

template <class Scores_, class Values_, int kHeadDim_, int kWarps_, int kMi_, int kTileKeys_,
          int kSlots_, int kHeldQ_, int kVAhead_, int kCtasPerSm_>
struct Sm80AttentionConfig {
  using Scores = Scores_;
  using Values = Values_;
  static constexpr int kHeadDim = kHeadDim_, kWarps = kWarps_, kMi = kMi_;
  static constexpr int kTileKeys = kTileKeys_, kSlots = kSlots_, kCtasPerSm = kCtasPerSm_;
  // Steps of 32 bytes of a query row, and how many of their fragments stay in registers; the others
  // are read from shared memory each step.
  static constexpr int kSteps = kHeadDim * Scores::kBytes / 32, kHeldQ = kHeldQ_;

  static constexpr int kVAhead = kVAhead_;  // loads of V fragments ahead of their products

  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kWarpRows = 16 * kMi, kTileQ = kWarps * kWarpRows;
  static constexpr int kNi = kTileKeys / 8, kDi = kHeadDim / 8;
  static constexpr int kKeySteps = kTileKeys / Values::kStepKeys;
  using KTile = RowTile<kHeadDim * Scores::kBytes>;
  // bf16: a row a key. int8: a row a channel of a group of keys, the groups one after the other.
  using VTile = RowTile<Values::kScaled ? kS8ValueKeys : kHeadDim * 2>;
  static constexpr int kVRows = Values::kScaled ? kKeySteps * kHeadDim : kTileKeys;
  static constexpr int kKBytes = kTileKeys * KTile::kRowBytes;
  static constexpr int kVBytes = kVRows * VTile::kRowBytes;
  static constexpr bool kQInShared = kHeldQ < kSteps;
  using QTile = RowTile<kQInShared ? (kSteps - kHeldQ) * 32 : 128>;
  static constexpr int kQBytes = kQInShared ? kTileQ * QTile::kRowBytes : 0;
  // One pass of the block copies so many rows of a tile; a thread keeps its chunk column.
  static constexpr int kKPassRows = std::min(kThreads / KTile::kChunks, kTileKeys);
  static constexpr int kVPassRows = std::min(kThreads / VTile::kChunks, kVRows);
  static constexpr int kKPasses = kTileKeys / kKPassRows, kVPasses = kVRows / kVPassRows;
  static constexpr int kSmemBytes = kSlots * (kKBytes + kVBytes) + kQBytes;

  static_assert(kHeadDim == 64 || kHeadDim == 128 || kHeadDim == 256);
  static_assert(kTileKeys % kWarpRows == 0,
                "causal: each row of a warp sees at least the first key of each of its tiles");
  static_assert(kS8KeyBlock % kTileKeys == 0, "a tile of keys has one scale");
  static_assert(!Values::kScaled || (Scores::kScaled && kTileKeys % kS8ValueKeys == 0));
  static_assert(kSlots >= 2, "one tile is read, one is on its way");
  static_assert(kHeldQ >= 0 && kHeldQ <= kSteps);
};

struct Sm80AttentionArgs {
  AttentionParams p;
  float logit_scale;  // log2(e) / sqrt(head_dim)
  int32_t tiles_q;
  int32_t head_group;                   // heads in a group of blocks that share K and V in L2
  uint32_t k_pass_bytes, v_pass_bytes;  // from pass to pass of the copies
};

// Bytes from a token of k to the next.
template <class C>
INTAGLIO_HOST_DEVICE uint32_t key_stride(const AttentionParams& p) {
  return C::Scores::kScaled ? C::KTile::kRowBytes : static_cast<uint32_t>(p.ldk) * 2;
}

// Bytes from a row of v to the next.
template <class C>
INTAGLIO_HOST_DEVICE uint32_t value_stride(const AttentionParams& p) {
  return C::Values::kScaled ? C::VTile::kRowBytes : static_cast<uint32_t>(p.ldv) * 2;
}

template <class C>
Sm80AttentionArgs sm80_attention_args(const AttentionParams& p, int head_group) {
  constexpr double kLog2E = 1.4426950408889634;
  return {.p = p,
          .logit_scale = static_cast<float>(kLog2E / std::sqrt(static_cast<double>(p.head_dim))),
          .tiles_q = static_cast<int32_t>((int64_t{p.tokens} + C::kTileQ - 1) / C::kTileQ),
          .head_group = head_group,
          .k_pass_bytes = C::kKPassRows * key_stride<C>(p),
          .v_pass_bytes = C::kVPassRows * value_stride<C>(p)};
}

// A query's bytes.
template <class C>
__device__ __forceinline__ const int8_t* query_row(const AttentionParams& p, int head, int row) {
  const auto* q = static_cast<const int8_t*>(p.q);
  if constexpr (C::Scores::kScaled) {
    return q + (int64_t{head} * p.tokens + row) * C::KTile::kRowBytes;
  }
  return q + int64_t{row} * p.ldq * 2 + int64_t{head} * C::KTile::kRowBytes;
}

// The part of the block's queries that is read from shared memory.
template <class C>
__device__ __forceinline__ void copy_queries(const AttentionParams& p, int head, int block_row0,
                                             uint32_t smem) {
  if constexpr (C::kQInShared) {
    const uint32_t to = smem + C::kSlots * (C::kKBytes + C::kVBytes);
    for (int i = threadIdx.x; i < C::kTileQ * C::QTile::kChunks; i += C::kThreads) {
      const int row = i / C::QTile::kChunks, chunk = i % C::QTile::kChunks;
      const int8_t* from = query_row<C>(p, head, min(block_row0 + row, p.tokens - 1));
      ptx::cp_async_16(to + C::QTile::offset(row, chunk),
                       from + C::kHeldQ * 32 + chunk * kChunkBytes, kChunkBytes);
    }
  }
}

// Which slots of the ring step t uses, as offsets of shared memory: it reads K(t + 1) and V(t), and
// the slots of K(t) and V(t - 1) are free.
template <class C>
struct RingStep {
  uint32_t slot = 0;  // t % kSlots

  __device__ __forceinline__ uint32_t next() const { return slot == C::kSlots - 1 ? 0 : slot + 1; }
  __device__ __forceinline__ uint32_t next_k() const { return next() * C::kKBytes; }
  __device__ __forceinline__ uint32_t this_v() const { return slot * C::kVBytes; }
  __device__ __forceinline__ uint32_t free_k() const { return slot * C::kKBytes; }
  __device__ __forceinline__ uint32_t free_v() const {
    return (slot == 0 ? C::kSlots - 1 : slot - 1) * C::kVBytes;
  }
};

// Copies K and V of one head to shared memory, one group of cp.async a step: K of a tile and V of
// the tile before it.
template <class C>
struct KeyValueLoader {
  using KTile = typename C::KTile;
  using VTile = typename C::VTile;
  static constexpr int kPasses = C::kKPasses + C::kVPasses;

  const Sm80AttentionArgs& args;
  uint32_t smem;
  // Offsets in bytes from the first of k and v, in 32 bits to spare registers; the launcher refuses
  // operands that span more.
  uint32_t k_from, v_from;  // this thread's chunk in pass 0 of the tiles to copy
  uint32_t k_to, v_to;      // this thread's chunk in shared memory, slot 0
  // Keys from the first of the K tile on; past them tiles are filled with zeros and nothing is read
  int left;

  __device__ __forceinline__ KeyValueLoader(const Sm80AttentionArgs& args_, int kv_head,
                                            int key_end, uint32_t smem_)
      : args(args_), smem(smem_), left(key_end) {
    const AttentionParams& p = args.p;
    // Bytes between tokens: at least those of a head, so that offsets are in the order of tokens.
    const uint32_t k_stride = key_stride<C>(p), v_stride = value_stride<C>(p);
    const int thread = threadIdx.x;
    const int k_row = thread / KTile::kChunks, k_chunk = thread % KTile::kChunks;
    const int v_row = thread / VTile::kChunks, v_chunk = thread % VTile::kChunks;
    const uint32_t k_head = static_cast<uint32_t>(kv_head) * KTile::kRowBytes *
                            static_cast<uint32_t>(C::Scores::kScaled ? p.tokens : 1);
    const uint32_t v_head = static_cast<uint32_t>(kv_head) * VTile::kRowBytes *
                            static_cast<uint32_t>(value_rows(C::Values::kScaled ? p.tokens : 1));
    k_from = k_head + static_cast<uint32_t>(k_row) * k_stride + k_chunk * kChunkBytes;
    v_from = v_head + static_cast<uint32_t>(v_row) * v_stride + v_chunk * kChunkBytes;
    k_to = smem + KTile::offset(k_row, k_chunk);
    v_to = smem + C::kSlots * C::kKBytes + VTile::offset(v_row, v_chunk);
  }

  // Rows of v in which these keys are; int8: of whole groups, which hold zeros past the last key.
  static __device__ __forceinline__ int value_rows(int keys) {
    if constexpr (!C::Values::kScaled) return keys;
    return (keys + kS8ValueKeys - 1) / kS8ValueKeys * C::kHeadDim;
  }

  // The next pass: kRows rows from where the last one stopped, which carries `from` from tile to
  // tile too. Rows below 8 a pass move the swizzle, by an XOR of the pass's own bits, because kRows
  // is a power of 2. `base`: of the slots in shared memory.
  template <class Tile, int kRows>
  __device__ __forceinline__ void copy(uint32_t to, uint32_t slot, uint32_t base,
                                       const void* source, uint32_t& from, uint32_t pass_bytes,
                                       int rows, int pass) const {
    const int row = pass * kRows;
    // The thread's row is in its address: cheaper to take out than to keep.
    const int at = static_cast<int>((to - base) / Tile::kRowBytes) + row;
    if (kRows * Tile::kChunks == C::kThreads ||
        static_cast<int>(threadIdx.x) < kRows * Tile::kChunks) {
      ptx::cp_async_16(
          ((to + slot) ^ static_cast<uint32_t>(row % 8 * kChunkBytes)) + row * Tile::kRowBytes,
          static_cast<const int8_t*>(source) + from, at < rows ? kChunkBytes : 0);
    }
    from += pass_bytes;
  }

  // `step`: the step of the ring whose slots are free. Passes come in order.
  __device__ __forceinline__ void copy_pass(int pass, const RingStep<C>& step) {
    if (pass < C::kKPasses) {
      copy<KTile, C::kKPassRows>(k_to, step.free_k(), smem, args.p.k, k_from, args.k_pass_bytes,
                                 left, pass);
    } else {
      copy<VTile, C::kVPassRows>(v_to, step.free_v(), smem + C::kSlots * C::kKBytes, args.p.v,
                                 v_from, args.v_pass_bytes, value_rows(left + C::kTileKeys),
                                 pass - C::kKPasses);
    }
  }

  __device__ __forceinline__ void finish_group() {
    ptx::cp_async_commit();
    left -= C::kTileKeys;
  }

  // Part `part` of `parts` of a group.
  __device__ __forceinline__ void copy_part(int part, int parts, const RingStep<C>& step) {
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      if (pass >= part * kPasses / parts && pass < (part + 1) * kPasses / parts)
        copy_pass(pass, step);
    }
  }

  // The first group has no V: there is no tile before.
  __device__ __forceinline__ void copy_first_group(const RingStep<C>& step) {
#pragma unroll
    for (int pass = 0; pass < C::kKPasses; ++pass) copy_pass(pass, step);
    finish_group();
  }
};

// What is compiled, best first for each head size; those that take at most 99 KB run on every card.
// None may spill (make cuda).
using Sm80S8AttentionConfigs = std::tuple<
    // scores, values, head size, warps, kMi, keys, slots, held Q, V ahead, blocks an SM
    Sm80AttentionConfig<S8Scores, BF16Values, 256, 8, 1, 32, 4, 8, 1, 1>,
    Sm80AttentionConfig<S8Scores, BF16Values, 256, 4, 1, 32, 3, 4, 1, 2>,
    Sm80AttentionConfig<S8Scores, BF16Values, 128, 8, 1, 64, 3, 4, 2, 1>,
    Sm80AttentionConfig<S8Scores, BF16Values, 128, 4, 1, 64, 2, 4, 2, 2>,
    Sm80AttentionConfig<S8Scores, BF16Values, 64, 4, 2, 32, 4, 2, 1, 2>,
    Sm80AttentionConfig<S8Scores, BF16Values, 64, 4, 1, 64, 3, 2, 2, 3>>;
using Sm80S8ValuesAttentionConfigs =
    std::tuple<Sm80AttentionConfig<S8Scores, S8Values, 256, 8, 1, 32, 4, 8, 1, 1>,
               Sm80AttentionConfig<S8Scores, S8Values, 256, 4, 1, 32, 3, 8, 1, 2>,
               Sm80AttentionConfig<S8Scores, S8Values, 128, 8, 1, 64, 4, 4, 2, 1>,
               Sm80AttentionConfig<S8Scores, S8Values, 128, 4, 1, 64, 3, 4, 2, 2>,
               Sm80AttentionConfig<S8Scores, S8Values, 64, 4, 2, 32, 4, 2, 1, 2>,
               Sm80AttentionConfig<S8Scores, S8Values, 64, 4, 1, 64, 3, 2, 2, 3>>;
using Sm80BF16AttentionConfigs =
    std::tuple<Sm80AttentionConfig<BF16Scores, BF16Values, 256, 8, 1, 32, 3, 8, 2, 1>,
               Sm80AttentionConfig<BF16Scores, BF16Values, 256, 8, 1, 32, 2, 8, 2, 1>,
               Sm80AttentionConfig<BF16Scores, BF16Values, 256, 4, 1, 32, 2, 8, 2, 2>,
               Sm80AttentionConfig<BF16Scores, BF16Values, 128, 8, 1, 64, 2, 8, 2, 1>,
               Sm80AttentionConfig<BF16Scores, BF16Values, 128, 4, 1, 64, 2, 8, 2, 2>,
               Sm80AttentionConfig<BF16Scores, BF16Values, 64, 4, 2, 32, 4, 4, 1, 2>>;

}  // namespace intaglio::cuda
