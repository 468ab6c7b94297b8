// Attention on Hopper: wgmma fed by the copy engine, warp-specialised. Formula and layouts:
// ops/cuda/attention_params.h. Two kernels from one template:
//
//   sm90a_bf16_attention   q k^T: wgmma m64 n(keys) k16 bf16       P v: wgmma m64 n(head_dim) k16 bf16, P from registers
//   sm90a_s8_attention     q k^T: wgmma m64 n(keys) k32 s8, exact, at twice the rate       P v: the same
//
//              K tile [keys, d]  V tile [keys, d]        block = 3 warpgroups
//             +--------------------------------+         0: producer, one thread issues loads
//   Q [128,d] | S 64 x keys -> P, out 64 x d   |         1, 2: 64 queries each
//             | S 64 x keys -> P, out 64 x d   |
//             +--------------------------------+
//
// A consumer's loop. The products of tile j are issued before the softmax of tile j is computed, so
// the tensor cores have P v of tile j - 1, and the other warpgroup's products, to do meanwhile:
//
//   issue  S = Q K[j]^T         |  wait for S; softmax of S: p in the registers of S      |  wait for out; rescale it if a reference rose; P = S as bf16
//   issue  out += P V[j - 1]    |     (tensor cores: out += P V[j - 1], other warpgroup)  |
//
// Turns: the warpgroups issue their products in turn, handing on by named barriers, so one's
// softmax falls into the other's products and not into its softmax.
// Why 80 keys with bf16, 96 with int8 at d = 256: per thread out takes 128 registers, S keys / 2
// and P keys / 4, of 240. Of shared memory Q takes 64 KB and two stages of K and V of 80 keys 160
// KB. More keys a tile are better: wgmma reads A and B of every S product from shared memory, (64 +
// keys) x 32 bytes for 64 x keys x 32 bytes of k. Shared memory: tiles are boxes of 128 bytes of d:
// [d bytes / 128][rows][128 bytes], in the 128-byte swizzle. int8 at d = 64 fills half a box; the
// copy engine zeroes the other half. Rows past the last token are read as zeros; their logits are
// masked to -inf, so p = 0 and 0 * 0 adds nothing. A v that is not finite, of a key that the causal
// mask hides, makes the rows of its tile NaN: 0 * NaN. A logit that is NaN is hidden by the mask.
// Numeric contract: int8 products exact; logits, softmax and sums float32, 2^x within 2^-22; P
// rounded to bf16, the sum of a row is taken before that; out rounded once. No atomics: same input,
// same bits; and a row's bits do not depend on the other rows.
#pragma once

#include <cuda.h>
#include <cuda_bf16.h>

#include "ops/cuda/attention_params.h"
#include "ops/cuda/ptx/cluster.cuh"
#include "ops/cuda/ptx/global_memory.cuh"
#include "ops/cuda/ptx/mbarrier.cuh"
#include "ops/cuda/ptx/named_barrier.cuh"
#include "ops/cuda/ptx/tma_3d.cuh"
#include "ops/cuda/ptx/wgmma_attention.cuh"
#include "ops/cuda/tile/attention_schedule.h"
#include "ops/cuda/tile/epilogue.cuh"
#include "ops/cuda/tile/online_softmax.cuh"

namespace intaglio::cuda {

template <ptx::ScoreType kType_, int kHeadDim_, int kKeys_, int kStagesK_, int kStagesV_>
struct Sm90aAttentionConfig {
  static constexpr ptx::ScoreType kType = kType_;
  static constexpr bool kS8 = kType == ptx::ScoreType::kS8;
  static constexpr int kHeadDim = kHeadDim_, kKeys = kKeys_;
  static constexpr int kStagesK = kStagesK_, kStagesV = kStagesV_;
  static constexpr int kConsumers = 2, kThreads = 128 * (1 + kConsumers), kRows = 64 * kConsumers;

  // q and k: bytes of a row of d, in boxes of 128. v: always bf16.
  static constexpr int kBytesD = kS8 ? kHeadDim : 2 * kHeadDim;
  static constexpr int kBoxesQk = (kBytesD + 127) / 128, kBoxesV = kHeadDim / 64;
  static constexpr int kBoxColumnsQk = kS8 ? 128 : 64;  // elements
  static constexpr int kBytesQBox = kRows * 128, kBytesKeyBox = kKeys * 128;
  static constexpr int kBytesQ = kBoxesQk * kBytesQBox;
  static constexpr int kBytesK = kBoxesQk * kBytesKeyBox, kBytesV = kBoxesV * kBytesKeyBox;

  static constexpr int kBarriers = 1 + 2 * kStagesK + 2 * kStagesV;
  static constexpr int kSmemBytes =
      kBytesQ + kStagesK * kBytesK + kStagesV * kBytesV + 8 * kBarriers;

  // Keys with one scale of k in a tile: a tile starts at a multiple of kKeys, so at a multiple of
  // this in its block.
  static constexpr int kScaleKeys = kKeys % kS8KeyBlock == 0 ? kS8KeyBlock : kS8KeyBlock / 2;
  static constexpr int kScales = kKeys / kScaleKeys;

  static_assert(kHeadDim == 64 || kHeadDim == 128 || kHeadDim == 256);
  static_assert(kKeys % 16 == 0, "k steps of P v");
  static_assert(!kS8 || kKeys % kScaleKeys == 0);
  static_assert(kSmemBytes <= 232448, "shared memory of a block on sm_90");
};

struct Sm90aAttentionMaps {
  CUtensorMap q, k, v;  // (d, tokens, heads)
};

namespace sm90a {

// Where a ring of stages stands. `parity` of the phase that the consumer waits for.
template <int kStages>
struct RingPlace {
  int stage = 0;
  uint32_t parity = 0;

  __device__ __forceinline__ void advance() {
    if (++stage == kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

// Addresses in shared memory.
template <typename Config>
struct AttentionSmem {
  uint32_t q;

  __device__ uint32_t k(int stage) const { return q + Config::kBytesQ + stage * Config::kBytesK; }
  __device__ uint32_t v(int stage) const {
    return q + Config::kBytesQ + Config::kStagesK * Config::kBytesK + stage * Config::kBytesV;
  }
  // Barriers: full counts the bytes of a load, empty the warps that have read it.
  __device__ uint32_t full_q() const { return v(Config::kStagesV); }
  __device__ uint32_t full_k(int stage) const { return full_q() + 8 * (1 + stage); }
  __device__ uint32_t empty_k(int stage) const { return full_k(Config::kStagesK + stage); }
  __device__ uint32_t full_v(int stage) const { return full_k(2 * Config::kStagesK + stage); }
  __device__ uint32_t empty_v(int stage) const { return full_v(Config::kStagesV + stage); }
};

// One tile of K or V: every box of d.
template <typename Config, int kBoxes, int kBoxColumns>
__device__ __forceinline__ void load_keys(uint32_t target, const CUtensorMap* map, int32_t key,
                                          int32_t head, uint32_t full) {
  ptx::mbarrier_arrive_expect_tx(full, kBoxes * Config::kBytesKeyBox);
#pragma unroll
  for (int box = 0; box < kBoxes; ++box) {
    ptx::tma_load_3d(target + box * Config::kBytesKeyBox, map, {box * kBoxColumns, key, head},
                     full);
  }
}

// The producing thread: Q, then K and V in the order in which the consumers' loop asks for them.
template <typename Config>
__device__ __forceinline__ void produce_attention(const AttentionParams& p,
                                                  const Sm90aAttentionMaps& maps,
                                                  const AttentionSchedule::Item& item,
                                                  const AttentionSmem<Config>& smem) {
  const int32_t kv_head = item.head / (p.heads / p.kv_heads);
  RingPlace<Config::kStagesK> k;
  RingPlace<Config::kStagesV> v;
  const auto load_k = [&](int32_t tile) {
    ptx::mbarrier_wait(smem.empty_k(k.stage), k.parity ^ 1);
    load_keys<Config, Config::kBoxesQk, Config::kBoxColumnsQk>(
        smem.k(k.stage), &maps.k, tile * Config::kKeys, kv_head, smem.full_k(k.stage));
    k.advance();
  };
  const auto load_v = [&](int32_t tile) {
    ptx::mbarrier_wait(smem.empty_v(v.stage), v.parity ^ 1);
    load_keys<Config, Config::kBoxesV, 64>(smem.v(v.stage), &maps.v, tile * Config::kKeys, kv_head,
                                           smem.full_v(v.stage));
    v.advance();
  };

  ptx::mbarrier_arrive_expect_tx(smem.full_q(), Config::kBytesQ);
#pragma unroll
  for (int box = 0; box < Config::kBoxesQk; ++box)
    ptx::tma_load_3d(smem.q + box * Config::kBytesQBox, &maps.q,
                     {box * Config::kBoxColumnsQk, item.row, item.head}, smem.full_q());
  load_k(0);
#pragma unroll 1
  for (int32_t tile = 1; tile < item.key_tiles; ++tile) {
    load_k(tile);
    load_v(tile - 1);
  }
  load_v(item.key_tiles - 1);
}

// Issues S = Q K^T: steps of 32 bytes of d, four to a box. Descriptors count in 16 bytes.
template <typename Config, typename Score>
__device__ __forceinline__ void issue_scores(Score (&scores)[Config::kKeys / 2], uint32_t q,
                                             uint32_t k) {
  using Wgmma = ptx::WgmmaScores<Config::kType, Config::kKeys>;
  const uint64_t desc_q = ptx::wgmma_descriptor_128b(q);
  const uint64_t desc_k = ptx::wgmma_descriptor_128b(k);
#pragma unroll
  for (int step = 0; step < Config::kBytesD / 32; ++step) {
    const uint64_t a = desc_q + (step / 4 * Config::kBytesQBox + step % 4 * 32) / 16;
    const uint64_t b = desc_k + (step / 4 * Config::kBytesKeyBox + step % 4 * 32) / 16;
    if (step == 0) {
      Wgmma::start(scores, a, b);
    } else {
      Wgmma::add(scores, a, b);
    }
  }
}

// Issues out += P V: steps of 16 keys, 2048 bytes of a box.
template <typename Config>
__device__ __forceinline__ void issue_values(float (&out)[Config::kHeadDim / 2],
                                             const uint32_t (&p)[Config::kKeys / 16][4],
                                             uint32_t v) {
  const uint64_t desc_v = ptx::wgmma_descriptor_mn_128b(v, Config::kBytesKeyBox);
#pragma unroll
  for (int step = 0; step < Config::kKeys / 16; ++step)
    ptx::WgmmaValues<Config::kHeadDim>::add(out, p[step], desc_v + step * 2048 / 16);
}

// Scales of k of one tile, on their way while S is computed. Keys past the last token take a valid
// neighbour's.
template <typename Config>
struct KeyScales {
  float scale[Config::kScales];

  __device__ __forceinline__ void load(const float* of_head, int32_t first_key, int32_t last) {
#pragma unroll
    for (int i = 0; i < Config::kScales; ++i) {
      const int32_t key = min(first_key + i * Config::kScaleKeys, last);
      scale[i] = __uint_as_float(ptx::ld_global_stream_4(of_head + key / kS8KeyBlock));
    }
  }
};

// Exact int -> float for |x| <= 2^22, with an addition of integers and one of floats: 1.5 * 2^23 +
// x is a float whose last bits are x. The conversion instruction runs on the unit that computes
// exponentials, at its low rate.
__device__ __forceinline__ float small_int_to_float(int32_t x) {
  return __int_as_float(x + 0x4b400000) - 12582912.0f;
}

// Keys beyond `limit` of their row get logit -inf. `first`: the tile's first key.
template <int kCount>
__device__ __forceinline__ void mask_keys(float (&x)[kCount], int32_t first,
                                          const int32_t (&limit)[2]) {
  const int32_t at = first + 2 * (threadIdx.x % 4);
#pragma unroll
  for (int i = 0; i < kCount; ++i)
    if (at + 8 * (i / 4) + i % 2 > limit[i / 2 % 2]) x[i] = __int_as_float(0xff800000);
}

template <int kSteps>
__device__ __forceinline__ void pack_probabilities(uint32_t (&p)[kSteps][4],
                                                   const float (&x)[8 * kSteps]) {
#pragma unroll
  for (int i = 0; i < 4 * kSteps; ++i)
    p[i / 4][i % 4] = pack_half_pair({x[2 * i], x[2 * i + 1]}, DType::kBF16);
}

// A thread has two rows of out, columns 8 j + 2 (lane % 4) + {0, 1}. The quad turns 32 columns at a
// time so that each thread has 16 bytes of one row: full sectors, no shared memory.
template <typename Config>
__device__ __forceinline__ void store_rows(const AttentionParams& p, int32_t head, int32_t row,
                                           const float (&out)[Config::kHeadDim / 2],
                                           const float (&inverse)[2]) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int32_t token = row + 8 * r;
    char* to = static_cast<char*>(p.out) +
               2 * (int64_t{token} * p.ldo + int64_t{head} * Config::kHeadDim + 8 * (lane % 4));
#pragma unroll
    for (int columns = 0; columns < Config::kHeadDim; columns += 32) {
      uint32_t v[4];
#pragma unroll
      for (int b = 0; b < 4; ++b) {
        const int i = columns / 2 + 4 * b + 2 * r;
        v[b] = pack_half_pair({out[i] * inverse[r], out[i + 1] * inverse[r]}, DType::kBF16);
      }
      quad_transpose(v, lane);
      if (token < p.tokens)
        *reinterpret_cast<uint4*>(to + 2 * columns) = make_uint4(v[0], v[1], v[2], v[3]);
    }
  }
}

// A consuming warpgroup: 64 rows from item.row + 64 consumer on.
template <typename Config>
__device__ __forceinline__ void consume_attention(const AttentionParams& p,
                                                  const AttentionSchedule::Item& item,
                                                  const AttentionSmem<Config>& smem, int consumer) {
  constexpr int kKeys = Config::kKeys, kCount = kKeys / 2;
  using Score = typename ptx::WgmmaScores<Config::kType, kKeys>::Element;
  // Logits in units of log2: q k / sqrt(head_dim) * log2(e).
  constexpr float kSqrtD = Config::kHeadDim == 256  ? 16.0f
                           : Config::kHeadDim == 64 ? 8.0f
                                                    : 11.313708498984761f;
  constexpr float kLogitUnit = 1.4426950408889634f / kSqrtD;
  const int lane = threadIdx.x % 32;
  const int32_t last = p.tokens - 1;
  const int32_t group_row = item.row + 64 * consumer;
  const int32_t row = group_row + 16 * (threadIdx.x / 32 % 4) + lane / 4;  // and row + 8
  const bool causal = p.causal != 0;
  const int32_t limit[2] = {causal ? min(row, last) : last, causal ? min(row + 8, last) : last};
  const int32_t group_limit = causal ? min(group_row, last) : last;

  float row_unit[2];
  const float* k_scale = nullptr;
  KeyScales<Config> key_scales;
  if constexpr (Config::kS8) {
    const float* q_scale = p.q_scale + int64_t{item.head} * p.tokens;
    row_unit[0] = __ldg(q_scale + min(row, last)) * kLogitUnit;
    row_unit[1] = __ldg(q_scale + min(row + 8, last)) * kLogitUnit;
    k_scale = p.k_scale + int64_t{item.head / (p.heads / p.kv_heads)} * (last / kS8KeyBlock + 1);
  }

  RingPlace<Config::kStagesK> k;
  RingPlace<Config::kStagesV> v;
  const uint32_t q = smem.q + consumer * 64 * 128;
  const auto give_back = [&](uint32_t empty) {
    if (lane == 0) ptx::mbarrier_arrive(empty);
  };

  OnlineSoftmax<kCount> softmax;
  float out[Config::kHeadDim / 2];
#pragma unroll
  for (float& o : out) o = 0.0f;
  uint32_t probabilities[kKeys / 16][4];

  // S of a tile, waited for, to masked logits and on to p. True if what is summed up in `out` needs
  // softmax.correction.
  const auto scores_to_p = [&](float(&x)[kCount], Score(&scores)[kCount], int32_t tile) {
    ptx::pin_registers(scores);
    if constexpr (Config::kS8) {
      float unit[2][Config::kScales];
#pragma unroll
      for (int i = 0; i < 2 * Config::kScales; ++i)
        unit[i % 2][i / 2] = row_unit[i % 2] * key_scales.scale[i / 2];
#pragma unroll
      for (int i = 0; i < kCount; ++i)
        x[i] = small_int_to_float(scores[i]) * unit[i / 2 % 2][i / 4 * 8 / Config::kScaleKeys];
    } else {
#pragma unroll
      for (int i = 0; i < kCount; ++i) x[i] = scores[i];
    }
    if (tile * kKeys + kKeys - 1 > group_limit) mask_keys(x, tile * kKeys, limit);
    return softmax.step(x, Config::kS8 ? 1.0f : kLogitUnit);
  };

  ptx::mbarrier_wait(smem.full_q(), 0);
  {
    Score scores[kCount];
    float x[kCount];
    if constexpr (Config::kS8) key_scales.load(k_scale, 0, last);
    ptx::mbarrier_wait(smem.full_k(k.stage), k.parity);
    ptx::wgmma_fence();
    issue_scores<Config>(scores, q, smem.k(k.stage));
    ptx::wgmma_commit();
    ptx::wgmma_wait<0>();
    give_back(smem.empty_k(k.stage));
    k.advance();
    scores_to_p(x, scores, 0);  // nothing is summed up yet
    pack_probabilities(probabilities, x);
  }

  // The first turn is warpgroup 0's. Each one waits at its own barrier and hands on at the next
  // one's.
  if (consumer == Config::kConsumers - 1) ptx::named_barrier_arrive(1, 256);
#pragma unroll 1
  for (int32_t tile = 1; tile < item.key_tiles; ++tile) {
    Score scores[kCount];
    float x[kCount];
    if constexpr (Config::kS8) key_scales.load(k_scale, tile * kKeys, last);
    ptx::mbarrier_wait(smem.full_k(k.stage), k.parity);
    ptx::named_barrier(1 + consumer, 256);
    ptx::wgmma_fence();
    issue_scores<Config>(scores, q, smem.k(k.stage));
    ptx::wgmma_commit();
    ptx::mbarrier_wait(smem.full_v(v.stage), v.parity);
    ptx::wgmma_fence();
    issue_values<Config>(out, probabilities, smem.v(v.stage));
    ptx::wgmma_commit();
    ptx::named_barrier_arrive(1 + (consumer + 1) % Config::kConsumers, 256);

    ptx::wgmma_wait<1>();
    give_back(smem.empty_k(k.stage));
    k.advance();
    const bool rose = scores_to_p(x, scores, tile);

    ptx::wgmma_wait<0>();
    ptx::pin_registers(out);
    // P of the tile before is read until now: its registers stay its own, and the new P is packed
    // no earlier.
    ptx::pin_registers(probabilities);
    ptx::pin_registers(x);
    give_back(smem.empty_v(v.stage));
    v.advance();
    if (rose) {
#pragma unroll
      for (int i = 0; i < Config::kHeadDim / 2; ++i) out[i] *= softmax.correction[i / 2 % 2];
    }
    pack_probabilities(probabilities, x);
  }
  ptx::mbarrier_wait(smem.full_v(v.stage), v.parity);
  ptx::wgmma_fence();
  issue_values<Config>(out, probabilities, smem.v(v.stage));
  ptx::wgmma_commit();
  // Takes the last hand-over, so that no barrier is left half full.
  if (consumer == 0) ptx::named_barrier(1, 256);
  const float inverse[2] = {softmax.inverse_sum(0), softmax.inverse_sum(1)};
  ptx::wgmma_wait<0>();
  ptx::pin_registers(out);
  give_back(smem.empty_v(v.stage));
  store_rows<Config>(p, item.head, row, out, inverse);
}

}  // namespace sm90a

template <typename Config>
__global__ void __launch_bounds__(Config::kThreads, 1)
    sm90a_attention(const __grid_constant__ AttentionParams p,
                    const __grid_constant__ Sm90aAttentionMaps maps,
                    const __grid_constant__ AttentionSchedule schedule) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(1024) uint8_t shared[];
  const sm90a::AttentionSmem<Config> smem{ptx::shared_address(shared)};
  const int group =
      __shfl_sync(0xffffffff, threadIdx.x / 128, 0);  // uniform, and the compiler knows
  const AttentionSchedule::Item item = schedule.at(blockIdx.x);

  if (threadIdx.x == 0) {
    ptx::tma_prefetch_map(&maps.q);
    ptx::tma_prefetch_map(&maps.k);
    ptx::tma_prefetch_map(&maps.v);
    constexpr int kReaders = Config::kConsumers * 4;  // warps
    ptx::mbarrier_init(smem.full_q(), 1);
    for (int s = 0; s < Config::kStagesK; ++s) {
      ptx::mbarrier_init(smem.full_k(s), 1);
      ptx::mbarrier_init(smem.empty_k(s), kReaders);
    }
    for (int s = 0; s < Config::kStagesV; ++s) {
      ptx::mbarrier_init(smem.full_v(s), 1);
      ptx::mbarrier_init(smem.empty_v(s), kReaders);
    }
    ptx::fence_mbarrier_init();
  }
  __syncthreads();

  // 24 x 128 + 240 x 256 registers of 65536.
  if (group == 0) {
    ptx::give_registers<24>();
    if (threadIdx.x == 0) sm90a::produce_attention<Config>(p, maps, item, smem);
  } else {
    ptx::take_registers<240>();
    sm90a::consume_attention<Config>(p, item, smem, group - 1);
  }
#endif
}

}  // namespace intaglio::cuda
