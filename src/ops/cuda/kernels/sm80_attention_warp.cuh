// The parts of sm80_attention.cuh that are a warp's: which queries it has, its registers, and what
// it does with them.
#pragma once

#include <cuda_bf16.h>

#include <algorithm>
#include <cstdint>

#include "ops/cuda/kernels/sm80_attention_config.cuh"
#include "ops/cuda/ptx/ldmatrix.cuh"
#include "ops/cuda/ptx/ldmatrix_trans.cuh"
#include "ops/cuda/ptx/mma_bf16.cuh"
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
  float factor[C::kKeySteps][kMi][2];     // s8 values: 2^(r - m) of each product's keys
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
    const RowChunk k_source = b_fragment_source(lane), q_source = a_fragment_source(lane);
    const RowChunk v_source = C::Values::kScaled ? k_source : q_source;
    k_lane = smem + C::KTile::offset(k_source.row, k_source.chunk);
    v_lane = smem + C::kSlots * C::kKBytes + C::VTile::offset(v_source.row, v_source.chunk);
    q_lane = smem + C::kSlots * (C::kKBytes + C::kVBytes) +
             C::QTile::offset(warp * C::kWarpRows + q_source.row, q_source.chunk);
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
    auto& to = v_fragment[fragment % (kVAhead + 1)];
    if constexpr (C::Values::kScaled) {
      ptx::ldmatrix_x4(to, v_lane + slot + fragment * 16 * C::VTile::kRowBytes);
    } else {
      ptx::ldmatrix_x4_trans(to, C::VTile::at_chunk_pair(v_lane + slot, fragment % kPairs) +
                                     fragment / kPairs * 16 * C::VTile::kRowBytes);
    }
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
    if constexpr (C::Values::kScaled) {
      refer_products();
    } else {
      refer_tile();
    }
  }

  // What the logits ask of m.
  __device__ __forceinline__ void refer_tile() {
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

  // s8 values: the references of the products, in all lanes of a row, and what they ask of m.
  __device__ __forceinline__ void refer_products() {
    constexpr int kTiles = S8Values::kStepKeys / 8;
    float most[kMi][2];
    bool grew = false;
#pragma unroll
    for (int mi = 0; mi < kMi; ++mi) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
#pragma unroll
        for (int step = 0; step < C::kKeySteps; ++step) {
          // Not below the lowest finite number: keys that are all masked have p = 0 and not NaN.
          float r = -0x1.fffffep127f;
#pragma unroll
          for (int ni = kTiles * step; ni < kTiles * (step + 1); ++ni)
            r = fmaxf(r, fmaxf(x[mi][ni][2 * half], x[mi][ni][2 * half + 1]));
          r = fmaxf(r, ptx::shuffle_xor(r, 1));
          r = fmaxf(r, ptx::shuffle_xor(r, 2));
          factor[step][mi][half] = r;
          most[mi][half] = step == 0 ? r : fmaxf(most[mi][half], r);
        }
        grew = grew || most[mi][half] > m[mi][half] + kSlack;
      }
    }
    if (ptx::any_lane(grew)) raise(most);
#pragma unroll
    for (int step = 0; step < C::kKeySteps; ++step) {
#pragma unroll
      for (int mi = 0; mi < kMi; ++mi) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          constexpr float kLog2Of255 = 7.99435344f;
          const float r = factor[step][mi][half];
          factor[step][mi][half] = ptx::ex2(r - m[mi][half]);
#pragma unroll
          for (int ni = kTiles * step; ni < kTiles * (step + 1); ++ni) {
            x[mi][ni][2 * half] -= r - kLog2Of255;
            x[mi][ni][2 * half + 1] -= r - kLog2Of255;
          }
        }
      }
    }
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
      if constexpr (C::Values::kScaled) {
        float y[4];
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          y[j] = ptx::ex2(x[mi][4 * key_step + i % 4 / 2 * 2 + j / 2][2 * half + j % 2]);
        }
        sum[mi][half] =
            __fmaf_rn((y[0] + y[1]) + (y[2] + y[3]), factor[key_step][mi][half], sum[mi][half]);
        p[key_step][mi][i % 4] = ptx::round_to_bytes(y[0], y[1], y[2], y[3]);
        continue;
      }
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
    if constexpr (C::Values::kScaled) {
      multiply_s8_values(v_slot);
    } else {
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
  }

  // The products of a fragment become floats beside those of the next. The compiler would begin
  // many more of them at once than there are registers for: nothing crosses __syncwarp.
  __device__ __forceinline__ void multiply_s8_values(uint32_t v_slot) {
    constexpr int kPairs = kDi / 2;
    int32_t product[2][kMi][2][4];
#pragma unroll
    for (int i = 0; i <= kVFragments; ++i) {
      if (i + kVAhead < kVFragments) load_v(v_slot, i + kVAhead);
#pragma unroll
      for (int mi = 0; mi < kMi && i < kVFragments; ++mi) {
#pragma unroll
        for (int side = 0; side < 2; ++side) {
          auto& to = product[i % 2][mi][side];
#pragma unroll
          for (int e = 0; e < 4; ++e) to[e] = S8Values::kStart;
          const uint32_t(&b)[4] = v_fragment[i % (kVAhead + 1)];
          ptx::mma_m16n8k32_u8s8(to, p[i / kPairs][mi], b[2 * side], b[2 * side + 1]);
        }
      }
#pragma unroll
      for (int mi = 0; mi < kMi && i > 0; ++mi) {
        const int step = (i - 1) / kPairs, pair = (i - 1) % kPairs;
#pragma unroll
        for (int side = 0; side < 2; ++side) {
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            float& to = o[mi][2 * pair + side][e];
            to = __fmaf_rn(S8Values::value(product[(i - 1) % 2][mi][side][e]),
                           factor[step][mi][e / 2], to);
          }
        }
      }
      __syncwarp();
    }
  }

  // From the sum of a pair of columns to the output.
  __device__ __forceinline__ float2 finish(const AttentionParams& params, float2 y, float inverse,
                                           int64_t channel) const {
    y.x *= inverse;
    y.y *= inverse;
    if constexpr (C::Values::kScaled) {
      const float2 scale = __ldg(reinterpret_cast<const float2*>(params.v_scale + channel));
      const float2 mean = __ldg(reinterpret_cast<const float2*>(params.v_mean + channel));
      y.x = __fmaf_rn(y.x, scale.x, mean.x);
      y.y = __fmaf_rn(y.y, scale.y, mean.y);
    }
    return y;
  }

  // Each lane stores 16 bytes: four lanes hold four blocks of 8 columns as pairs and swap them
  // (tile/epilogue.cuh).
  __device__ __forceinline__ void store(const Sm80AttentionArgs& args) {
    const AttentionParams& params = args.p;
    const int lane = ptx::read_thread() % 32;
    const WarpPlace<C> place = warp_place<C>(args, ptx::read_block(), ptx::read_thread() / 32);
    const int kv_head = place.head / (params.heads / params.kv_heads);
    const int64_t channel = int64_t{kv_head} * C::kHeadDim + accumulator_column(lane);
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
            v[j] = pack_half_pair(finish(params, {pair[2 * half], pair[2 * half + 1]}, inverse,
                                         channel + 8 * (4 * group + j)),
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

}  // namespace intaglio::cuda
