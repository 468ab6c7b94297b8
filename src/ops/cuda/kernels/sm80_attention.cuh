// sm80_bf16_attention and sm80_s8_attention: attention by mma.sync, one template. For sm_80, 86,
// 89, 120, and sm_90 without wgmma.
//
//   out[t, h] = sum_s p[t, s] v[s] / sum_s p[t, s]        p[t, s] = exp(q[t, h] . k[s] / sqrt(head_dim)), s <= t if causal
//
// Layouts: ops/cuda/attention_params.h. bf16: all operands bf16, mma.m16n8k16. s8: q and k int8
// with scales, mma.m16n8k32, v bf16. In bytes the fragments of both instructions are the same, so
// the two kernels differ in what 32 bytes of a row hold and in how a score becomes a logit.
//
//                  keys -->
//            d   +------+------+------+          One block: kTileQ queries of one head. One warp: 16 kMi of them, all head_dim columns of their
//          +---+ | K    | next |      |          output in registers. Keys come in tiles of kTileKeys: kSlots slots of K and of V in shared memory,
//   queries| Q | | tile | tile |      |          filled by cp.async, swizzled; ldmatrix takes K, ldmatrix.trans takes V.
//          +---+ +------+------+------+
//            x = Q K^T  | p = exp2(x) | out += P V
//
//   step t of a warp:   maxima of x(t) | wait, barrier | x(t + 1) = Q K(t + 1)^T, between its products p(t) = exp2(x(t)) | out += P(t) V(t)
//   copies from the barrier of step t:  K(t + kSlots) to the slot of K(t), V(t + kSlots - 1) to that of V(t - 1), with the first products
//
// The next tile's scores do not depend on this tile's exponentials: the matrix unit works on the
// ones while the float units make the others. P never leaves the registers: the accumulator layout
// of x is the A fragment of the second product. One barrier a step serves both ends of the ring:
// K(t) was last read in step t - 1 and V(t - 1) too.
//
// Softmax. Logits are in units of log2, so that p is one subtraction and one ex2. A row's reference
// m (what is subtracted) is a maximum seen earlier; it is raised only when a logit exceeds it by
// more than kSlack, else p just grows up to 2^kSlack: the quotient is the same and float and bf16
// keep their relative precision. So almost no step rescales the output, and without a raise a step
// needs no shuffle: each lane compares its own maxima, a vote tells the warp.
//
// s8: the sum of a product and the bits of 1.5 * 2^23 are, as a float, 1.5 * 2^23 plus the product,
// exact for |product| <= 2^22 = 256 * 128^2; so an integer addition and a float subtraction convert
// it; the conversion instruction runs at a quarter of their rate on sm_80.
//
// Numeric contract: scores exact (s8) or float32 sums (bf16); logits, p and sums float32; P rounded
// to bf16 for the second product, the row sums are of unrounded p. Same input, same bits. NaN and
// Inf of q, of visible k and v, and of the scales show in the output; a row whose logits are all
// -Inf is NaN. A NaN or Inf in v also shows in rows that see part of its tile of keys (0 * NaN).
//
// What bounds it. A warp reads all K and V of its head from shared memory for its 16 kMi rows: per
// instruction 256 / kMi bytes, 2 / kMi cycles of shared memory, against one instruction every 1.7
// cycles on sm_90, every 2 on sm_80, 4 (s8) and 8 (bf16) on sm_86 and 89. With head_dim 256 kMi is
// 1, because the output of 16 rows takes 128 registers: shared memory bounds sm_90 and sm_80. With
// head_dim 64 kMi is 2; with 128 its fragments would not leave the registers for the next scores.
//   head_dim 256, a tile of 32 keys, 128 rows: fragments bf16 256 KB, s8 192 KB, copies 32 and 24
//   KB: 2304 and 1728 cycles. On 132 SMs at 1.75 GHz
//   that bounds bf16 to 420 and s8 to 560 TFLOP/s; the matrix unit alone would do 550 and 730.
// Measure: bench/cuda/check_sm80_attention.cu.
#pragma once

#include <cuda_bf16.h>

#include <algorithm>
#include <cstdint>

#include "ops/cuda/kernels/sm80_attention_config.cuh"
#include "ops/cuda/ptx/cp_async.cuh"
#include "ops/cuda/ptx/ldmatrix.cuh"
#include "ops/cuda/ptx/ldmatrix_trans.cuh"
#include "ops/cuda/ptx/mma_bf16.cuh"
#include "ops/cuda/ptx/shared_memory.cuh"
#include "ops/cuda/ptx/softmax.cuh"
#include "ops/cuda/tile/epilogue.cuh"
#include "ops/cuda/tile/mma_layout.h"

namespace intaglio::cuda {

// What a block computes. Blocks that run together share K and V in L2: all tiles of a head, or,
// causal, a group of heads, its longest tiles first, so that the short ones fill the end of the
// launch.
struct AttentionBlock {
  int head, tile;
};
INTAGLIO_HOST_DEVICE AttentionBlock attention_block(int index, int heads, int tiles_q,
                                                    int head_group, bool causal) {
  const int per_group = head_group * tiles_q;
  const int first = index / per_group * head_group;
  const int width = heads - first < head_group ? heads - first : head_group;
  const int rest = index % per_group;
  return {first + rest % width, causal ? tiles_q - 1 - rest / width : rest / width};
}

// What a warp computes, from the indices of its block and thread: cheap enough to be found again
// where it is needed.
template <class C>
struct WarpPlace {
  int head;
  int block_row0, row0;  // first query of the block and of the warp
  // Tiles of keys that some row of the block, and of the warp, sees. A warp past the last token has
  // none and only copies.
  int tiles, warp_tiles;
};
template <class C>
__device__ __forceinline__ WarpPlace<C> warp_place(const Sm80AttentionArgs& args, int block,
                                                   int warp) {
  const AttentionParams& p = args.p;
  const AttentionBlock where =
      attention_block(block, p.heads, args.tiles_q, args.head_group, p.causal != 0);
  const auto tiles_for = [&](int rows_end) {
    const int keys = p.causal != 0 ? min(rows_end, p.tokens) : p.tokens;
    return (keys + C::kTileKeys - 1) / C::kTileKeys;
  };
  const int block_row0 = where.tile * C::kTileQ, row0 = block_row0 + warp * C::kWarpRows;
  return {where.head, block_row0, row0, tiles_for(block_row0 + C::kTileQ),
          row0 < p.tokens ? tiles_for(row0 + C::kWarpRows) : 0};
}

// The registers of a warp and what it does with them.
template <class C>
struct AttentionWarp {
  using Scores = typename C::Scores;
  static constexpr int kMi = C::kMi, kNi = C::kNi, kDi = C::kDi;
  static constexpr int kKFragments = C::kSteps * kNi / 2;     // of ldmatrix.x4: 16 keys x 32 bytes
  static constexpr int kVFragments = C::kKeySteps * kDi / 2;  // 16 keys x 16 columns
  static constexpr int kPRegisters = C::kKeySteps * kMi * 4;
  static constexpr int kVAhead = C::kVAhead;
  // Copies go with the first K fragments, two passes each: spread wider, their addresses do not fit
  // the registers.
  static constexpr int kCopyParts = std::min(kKFragments, (KeyValueLoader<C>::kPasses + 1) / 2);
  static constexpr float kSlack = 8.0f;

  // Keys from the first of this tile on that all rows of the warp see. causal: row r of the warp
  // sees r more. Because row0 and the tiles are multiples of kWarpRows, another tile follows if and
  // only if this exceeds kTileKeys, causal or not.
  int left;
  uint32_t k_lane, v_lane, q_lane;  // where this lane's ldmatrix rows start in slot 0
  uint32_t q_held[kMi][C::kHeldQ > 0 ? C::kHeldQ : 1][4];
  typename Scores::Acc acc[kMi][kNi][4];  // scores of the next tile
  float x[kMi][kNi][4];                   // logits of this tile, in units of log2
  uint32_t p[C::kKeySteps][kMi][4];       // A fragments of P
  float o[kMi][kDi][4];
  uint32_t v_fragment[kVAhead + 1][4];
  // Of rows row0 + 16 mi + 8 half + lane / 4:
  float row_scale[kMi][2];  // from score to logit, without the scale of k
  float m[kMi][2];          // reference of the exponentials
  float sum[kMi][2];        // of p, this lane's columns

  __device__ __forceinline__ void start(const Sm80AttentionArgs& args, const WarpPlace<C>& place,
                                        uint32_t smem, int warp) {
    const AttentionParams& params = args.p;
    const int lane = threadIdx.x % 32, head = place.head;
    left = params.causal != 0 ? place.row0 + 1 : params.tokens;
    const RowChunk k_source = b_fragment_source(lane), v_source = a_fragment_source(lane);
    k_lane = smem + C::KTile::offset(k_source.row, k_source.chunk);
    v_lane = smem + C::kSlots * C::kKBytes + C::VTile::offset(v_source.row, v_source.chunk);
    q_lane = smem + C::kSlots * (C::kKBytes + C::kVBytes) +
             C::QTile::offset(warp * C::kWarpRows + v_source.row, v_source.chunk);
#pragma unroll
    for (int mi = 0; mi < kMi; ++mi) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        // Rows past the end repeat the last one; they are not stored.
        const int row =
            min(place.row0 + 16 * mi + 8 * half + accumulator_row(lane), params.tokens - 1);
        const int8_t* from = query_row<C>(params, head, row) + lane % 4 * 4;
#pragma unroll
        for (int step = 0; step < C::kHeldQ; ++step) {
          q_held[mi][step][half] = __ldg(reinterpret_cast<const uint32_t*>(from + step * 32));
          q_held[mi][step][half + 2] =
              __ldg(reinterpret_cast<const uint32_t*>(from + step * 32 + 16));
        }
        row_scale[mi][half] = args.logit_scale;
        if constexpr (Scores::kScaled) {
          row_scale[mi][half] *= __ldg(params.q_scale + int64_t{head} * params.tokens + row);
        }
        // The lowest finite number and not -Inf: a difference with it is never NaN, whatever finite
        // or -Inf logits come.
        m[mi][half] = -0x1.fffffep127f;
        sum[mi][half] = 0.0f;
      }
#pragma unroll
      for (int di = 0; di < kDi; ++di) {
#pragma unroll
        for (int e = 0; e < 4; ++e) o[mi][di][e] = 0.0f;
      }
    }
  }

  // The order of K fragments: 16 keys x 32 bytes each. With two rows of products a fragment is
  // enough to keep the matrix unit busy, and 16 keys are finished before the next 16 begin, so that
  // their accumulators take the registers that the exponentials have left. With one row all keys of
  // the tile go side by side.
  static __device__ __forceinline__ constexpr int step_of(int fragment) {
    return kMi == 1 ? fragment / (kNi / 2) : fragment % C::kSteps;
  }
  static __device__ __forceinline__ constexpr int pair_of(int fragment) {
    return kMi == 1 ? fragment % (kNi / 2) : fragment / C::kSteps;
  }

  __device__ __forceinline__ void load_k(uint32_t (&to)[4], uint32_t slot, int fragment) const {
    ptx::ldmatrix_x4(to, C::KTile::at_chunk_pair(k_lane + slot, step_of(fragment)) +
                             pair_of(fragment) * 16 * C::KTile::kRowBytes);
  }
  __device__ __forceinline__ void load_v(uint32_t slot, int fragment) {
    constexpr int kPairs = kDi / 2;
    ptx::ldmatrix_x4_trans(v_fragment[fragment % (kVAhead + 1)],
                           C::VTile::at_chunk_pair(v_lane + slot, fragment % kPairs) +
                               fragment / kPairs * 16 * C::VTile::kRowBytes);
  }
  __device__ __forceinline__ void load_q(uint32_t (&to)[kMi][4], int step) const {
#pragma unroll
    for (int mi = 0; mi < kMi; ++mi) {
      ptx::ldmatrix_x4(to[mi], C::QTile::at_chunk_pair(q_lane, step - C::kHeldQ) +
                                   mi * 16 * C::QTile::kRowBytes);
    }
  }

  // acc = Q K^T of the tile in `k_slot`. kBeside: between the products, part by part, the
  // exponentials of the tile before, the copies, and at the end the first loads of V.
  template <bool kBeside>
  __device__ __forceinline__ void multiply_keys(uint32_t k_slot, const RingStep<C>& ring,
                                                KeyValueLoader<C>& loader) {
    uint32_t k[2][4], q[2][kMi][4];
    load_k(k[0], k_slot, 0);
    if constexpr (C::kHeldQ == 0) load_q(q[0], 0);
#pragma unroll
    for (int i = 0; i < kKFragments; ++i) {
      const int step = step_of(i), pair = pair_of(i);
      if (i + 1 < kKFragments) load_k(k[(i + 1) % 2], k_slot, i + 1);
      // The next step's query fragments, at the first fragment of this one.
      const int next_step = (step + 1) % C::kSteps;
      if ((kMi == 1 ? pair == 0 && next_step > 0 : i + 1 < kKFragments) && next_step >= C::kHeldQ)
        load_q(q[next_step % 2], next_step);
      if (kBeside && i >= kKFragments - kVAhead) load_v(ring.this_v(), i - (kKFragments - kVAhead));
#pragma unroll
      for (int mi = 0; mi < kMi; ++mi) {
        uint32_t a[4];
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          a[j] = step < C::kHeldQ ? q_held[mi][step < C::kHeldQ ? step : 0][j] : q[step % 2][mi][j];
        }
#pragma unroll
        for (int side = 0; side < 2; ++side) {
          auto& to = acc[mi][2 * pair + side];
          if (step == 0) {
#pragma unroll
            for (int e = 0; e < 4; ++e) to[e] = Scores::kStart;
          }
          Scores::multiply(to, a, k[i % 2][2 * side], k[i % 2][2 * side + 1]);
        }
      }
      if constexpr (kBeside) {
        exponentials(i, kKFragments);
        if (i < kCopyParts) loader.copy_part(i, kCopyParts, ring);
      }
    }
  }

  // From scores to logits; masks, references.
  __device__ __forceinline__ void begin_tile(bool causal, float k_scale) {
#pragma unroll
    for (int mi = 0; mi < kMi; ++mi) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float scale = Scores::kScaled ? row_scale[mi][half] * k_scale : row_scale[mi][half];
#pragma unroll
        for (int ni = 0; ni < kNi; ++ni) {
#pragma unroll
          for (int e = 2 * half; e < 2 * half + 2; ++e)
            x[mi][ni][e] = Scores::value(acc[mi][ni][e]) * scale;
        }
      }
    }
    if (left < C::kTileKeys) mask(causal);

    float most[kMi][2];
    bool grew = false;
#pragma unroll
    for (int mi = 0; mi < kMi; ++mi) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        most[mi][half] = x[mi][0][2 * half];
#pragma unroll
        for (int ni = 0; ni < kNi; ++ni) {
          most[mi][half] =
              fmaxf(most[mi][half], fmaxf(x[mi][ni][2 * half], x[mi][ni][2 * half + 1]));
        }
        grew = grew || most[mi][half] > m[mi][half] + kSlack;
      }
    }
    if (ptx::any_lane(grew)) raise(most);
  }

  // Rows past the last token may see keys past it: zeros, and they are not stored.
  __device__ __forceinline__ void mask(bool causal) {
    const int lane = ptx::read_thread() % 32;
#pragma unroll
    for (int mi = 0; mi < kMi; ++mi) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int end = left + (causal ? 16 * mi + 8 * half + accumulator_row(lane) : 0);
#pragma unroll
        for (int ni = 0; ni < kNi; ++ni) {
#pragma unroll
          for (int e = 0; e < 2; ++e) {
            if (8 * ni + accumulator_column(lane) + e >= end)
              x[mi][ni][2 * half + e] = ptx::float_of_bits(0xff800000u);  // -Inf
          }
        }
      }
    }
  }

  // New references: the four lanes of a row agree, sums and output follow.
  __device__ __forceinline__ void raise(const float (&most)[kMi][2]) {
#pragma unroll
    for (int mi = 0; mi < kMi; ++mi) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float row_most = most[mi][half];
        row_most = fmaxf(row_most, ptx::shuffle_xor(row_most, 1));
        row_most = fmaxf(row_most, ptx::shuffle_xor(row_most, 2));
        const float raised = fmaxf(m[mi][half], row_most);
        const float factor = ptx::ex2(m[mi][half] - raised);
        m[mi][half] = raised;
        sum[mi][half] *= factor;
#pragma unroll
        for (int di = 0; di < kDi; ++di) {
          o[mi][di][2 * half] *= factor;
          o[mi][di][2 * half + 1] *= factor;
        }
      }
    }
  }

  // Part `part` of `parts` of p = 2^(x - m), in the order in which P V reads it.
  __device__ __forceinline__ void exponentials(int part, int parts) {
#pragma unroll
    for (int i = 0; i < kPRegisters; ++i) {
      if (i < part * kPRegisters / parts || i >= (part + 1) * kPRegisters / parts) continue;
      const int key_step = i / (4 * kMi), mi = i / 4 % kMi, half = i % 2;
      const float(&pair)[4] = x[mi][2 * key_step + i % 4 / 2];
      const float p0 = ptx::ex2(pair[2 * half] - m[mi][half]);
      const float p1 = ptx::ex2(pair[2 * half + 1] - m[mi][half]);
      sum[mi][half] += p0 + p1;
      p[key_step][mi][i % 4] = pack_half_pair({p0, p1}, DType::kBF16);
    }
  }

  // o += P V of the tile in `v_slot`; its first kVAhead fragments are on their way.
  __device__ __forceinline__ void multiply_values(uint32_t v_slot) {
    constexpr int kPairs = kDi / 2;
#pragma unroll
    for (int i = 0; i < kVFragments; ++i) {
      if (i + kVAhead < kVFragments) load_v(v_slot, i + kVAhead);
      const uint32_t(&b)[4] = v_fragment[i % (kVAhead + 1)];
#pragma unroll
      for (int mi = 0; mi < kMi; ++mi) {
        ptx::mma_m16n8k16_bf16(o[mi][i % kPairs * 2], p[i / kPairs][mi], b[0], b[1]);
        ptx::mma_m16n8k16_bf16(o[mi][i % kPairs * 2 + 1], p[i / kPairs][mi], b[2], b[3]);
      }
    }
  }

  // Each lane stores 16 bytes: four lanes hold four blocks of 8 columns as pairs and swap them
  // (tile/epilogue.cuh).
  __device__ __forceinline__ void store(const Sm80AttentionArgs& args) {
    const AttentionParams& params = args.p;
    const int lane = ptx::read_thread() % 32;
    const WarpPlace<C> place = warp_place<C>(args, ptx::read_block(), ptx::read_thread() / 32);
#pragma unroll
    for (int mi = 0; mi < kMi; ++mi) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float total = sum[mi][half];
        total += ptx::shuffle_xor(total, 1);
        total += ptx::shuffle_xor(total, 2);
        const float inverse = 1.0f / total;
        const int row = place.row0 + 16 * mi + 8 * half + accumulator_row(lane);
        auto* to = static_cast<uint16_t*>(params.out) + int64_t{row} * params.ldo +
                   place.head * C::kHeadDim + lane % 4 * 8;
#pragma unroll
        for (int group = 0; group < kDi / 4; ++group) {
          uint32_t v[4];
#pragma unroll
          for (int j = 0; j < 4; ++j) {
            const float(&pair)[4] = o[mi][4 * group + j];
            v[j] = pack_half_pair({pair[2 * half] * inverse, pair[2 * half + 1] * inverse},
                                  DType::kBF16);
          }
          quad_transpose(v, lane);
          if (row < params.tokens)
            *reinterpret_cast<uint4*>(to + 32 * group) = make_uint4(v[0], v[1], v[2], v[3]);
        }
      }
    }
  }
};

template <class C>
__device__ __forceinline__ void sm80_attention_block(const Sm80AttentionArgs& args) {
  const AttentionParams& params = args.p;
  extern __shared__ __align__(kBankLineBytes) int8_t smem[];
  const uint32_t smem_base = ptx::shared_address(smem);
  // The shuffle tells the compiler that `warp` is the same in all lanes.
  const int warp = __shfl_sync(0xffffffffu, threadIdx.x / 32, 0);
  const bool causal = params.causal != 0;
  const WarpPlace<C> place = warp_place<C>(args, blockIdx.x, warp);
  const int kv_head = place.head / (params.heads / params.kv_heads);

  KeyValueLoader<C> loader(args, kv_head, min(params.tokens, place.tiles * C::kTileKeys),
                           smem_base);
  copy_queries<C>(params, place.head, place.block_row0, smem_base);
  // Group j carries K(j) and V(j - 1), so it goes where step j has its free slots.
  RingStep<C> ring;
  loader.copy_first_group(ring);
#pragma unroll 1
  for (int group = 1; group < C::kSlots; ++group) {
    ring.slot = ring.next();
    loader.copy_part(0, 1, ring);
    loader.finish_group();
  }
  ring.slot = 0;
  AttentionWarp<C> w;
  w.start(args, place, smem_base, warp);
  // Of the tile the warp is at: one scale serves kTilesPerScale of them.
  constexpr int kTilesPerScale = kS8KeyBlock / C::kTileKeys;
  int scale_index = kv_head * ((params.tokens + kS8KeyBlock - 1) / kS8KeyBlock) * kTilesPerScale;
  const auto tile_scale = [&] {
    if constexpr (!C::Scores::kScaled) return 1.0f;
    return __ldg(params.k_scale + scale_index / kTilesPerScale);
  };

  ptx::cp_async_wait<C::kSlots - 1>();
  __syncthreads();
  if (place.warp_tiles > 0) w.template multiply_keys<false>(0, ring, loader);

  // K(t + 1) and V(t) have landed, for this thread by the wait and for all by the barrier, which
  // also says that all have left K(t) and V(t - 1).
  const auto meet = [] {
    ptx::cp_async_wait<C::kSlots - 2>();
    __syncthreads();
  };

  if (place.warp_tiles > 0) {
#pragma unroll 1
    for (; w.left > C::kTileKeys; w.left -= C::kTileKeys) {
      w.begin_tile(causal, tile_scale());
      meet();
      w.template multiply_keys<true>(ring.next_k(), ring, loader);
      loader.finish_group();
      w.multiply_values(ring.this_v());
      ring.slot = ring.next();
      ++scale_index;
    }
    // The warp's last tile, without a next one.
    w.begin_tile(causal, tile_scale());
    meet();
    loader.copy_part(0, 1, ring);
    loader.finish_group();
#pragma unroll
    for (int i = 0; i < C::kVAhead; ++i) w.load_v(ring.this_v(), i);
    w.exponentials(0, 1);
    w.multiply_values(ring.this_v());
    w.store(args);
    ring.slot = ring.next();
  }
  // Other warps of the block see more keys: it goes on copying for them.
  const WarpPlace<C> again = warp_place<C>(args, ptx::read_block(), ptx::read_thread() / 32);
#pragma unroll 1
  for (int tile = again.warp_tiles; tile < again.tiles; ++tile) {
    meet();
    loader.copy_part(0, 1, ring);
    loader.finish_group();
    ring.slot = ring.next();
  }
  // Copies may still be on their way to this block's shared memory.
  ptx::cp_async_wait<0>();
}

// What a block may have of shared memory; configs above it are not compiled for the architecture,
// and the launcher refuses them.
#if defined(__CUDA_ARCH__) && \
    (__CUDA_ARCH__ == 860 || __CUDA_ARCH__ == 890 || __CUDA_ARCH__ >= 1200)
inline constexpr int kSm80AttentionSharedLimit = 99 * 1024;
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
inline constexpr int kSm80AttentionSharedLimit = 163 * 1024;
#else
inline constexpr int kSm80AttentionSharedLimit = 227 * 1024;
#endif

template <class C>
__global__ void __launch_bounds__(C::kThreads, C::kCtasPerSm)
    sm80_attention_kernel(const __grid_constant__ Sm80AttentionArgs args) {
  if constexpr (C::kSmemBytes <= kSm80AttentionSharedLimit) sm80_attention_block<C>(args);
}

}  // namespace intaglio::cuda
