// RMSNorm of each head of q and k, rotation in pairs, and what int8 attention wants: q and k
// quantized, the mean of k taken away.
//
// Formulas and layouts: ops/cuda/qk_norm_rope_params.h. Every architecture from sm_75 runs the same
// code.
//
// A lane holds 8 channels of each half, so both partners of a pair are its own, be it j with j +
// d/2 or 2j with 2j + 1; d/16 lanes make a head (16 for 256, 8 for 128, 4 for 64):
//
//   head    | 0 .. 7 | 8 .. 15 | ... | d/2 - 8 .. |  d/2 .. d/2 + 7 | ...                 loads of 16 bytes (bf16), contiguous over lanes
//   lane       0        1               d/16 - 1        0             ...
//
//   norm_rope_tokens     a block a token: cos and sin are loaded once and serve all its heads; several heads a lane are in flight
//   norm_rope_keys       int8 form: a block 64 tokens of kKeyHeads heads, which keeps their sums by channel in registers; sums -> workspace
//   key_means            sums of all blocks -> mean by channel, in a fixed order
//   quantize_keys        a block 64 tokens of a head: k - mean -> int8, one scale
// The first two are one launch: the long blocks of keys go first, the tokens of q fill what they
// leave. Each is compiled for heads that are normed and turned by halves, normed and turned in
// adjacent pairs, and for whatever else is asked (HeadSteps): the first two ask nothing at run
// time.
//
// Bound by memory. In place 4 bytes a channel (bf16); int8: q 3, k 4 + 3, where the second read of
// k is partly met in L2. cos, sin, weights and means come out of L1 and L2. Other head dimensions,
// odd alignments: slow_qk_norm_rope.cuh.
#pragma once

#include <cuda_bf16.h>

#include "ops/cuda/kernels/row_quantizer.cuh"
#include "ops/cuda/qk_norm_rope_params.h"

namespace intaglio::cuda {

inline constexpr int kNormRopeThreads = 128;
inline constexpr int kQuantizeKeysThreads = 256;

template <int kHeadDim>
struct HeadConfig {
  static constexpr int kHalf = kHeadDim / 2;
  static constexpr int kLanes = kHalf / 8;  // of a head
  static constexpr int kGroups = kNormRopeThreads / kLanes;
  static constexpr int kGroupsOfWarp = 32 / kLanes;
  static constexpr int kKeyHeads = 2;  // heads of a block of keys: they share its cos and sin
  static_assert(kHeadDim == 64 || kHeadDim == 128 || kHeadDim == 256);
  static_assert(kS8KeyBlock % kGroups == 0, "every group has as many tokens of a block of keys");
};

// Eight consecutive channels as they lie in memory.
template <class Type>
struct Eight {
  using Part = Piece<Type, 16 / Type::kBytes>;
  static constexpr int kParts = Type::kBytes / 2;
  Part part[kParts];
};

// Not through the read-only path: k is written by the same launch. Read once, so past the caches.
template <class Type>
__device__ __forceinline__ Eight<Type> load_eight(const void* from, bool valid) {
  Eight<Type> raw;
#pragma unroll
  for (int i = 0; i < Eight<Type>::kParts; ++i) {
    raw.part[i] = zero_piece<typename Eight<Type>::Part>();
    if (valid) {
      const uint4 words = __ldcs(static_cast<const uint4*>(from) + i);
      raw.part[i].word[0] = words.x, raw.part[i].word[1] = words.y;
      raw.part[i].word[2] = words.z, raw.part[i].word[3] = words.w;
    }
  }
  return raw;
}

template <class Type>
__device__ __forceinline__ void unpack_eight(const Eight<Type>& raw, float (&v)[8]) {
  constexpr int kElements = Eight<Type>::Part::kElements;
#pragma unroll
  for (int i = 0; i < Eight<Type>::kParts; ++i) {
    float part[kElements];
    unpack<Type>(raw.part[i], part);
#pragma unroll
    for (int e = 0; e < kElements; ++e) v[i * kElements + e] = part[e];
  }
}

// Rounded to the type.
template <class Type>
__device__ __forceinline__ Eight<Type> pack_eight(const float (&v)[8]) {
  Eight<Type> raw;
  if constexpr (Type::kBytes == 4) {
#pragma unroll
    for (int i = 0; i < 8; ++i) raw.part[i / 4].word[i % 4] = __float_as_uint(v[i]);
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const __nv_bfloat162 pair = __floats2bfloat162_rn(v[2 * i], v[2 * i + 1]);
      raw.part[0].word[i] = *reinterpret_cast<const uint32_t*>(&pair);
    }
  }
  return raw;
}

template <class Type>
__device__ __forceinline__ void store_eight(void* to, const Eight<Type>& raw) {
#pragma unroll
  for (int i = 0; i < Eight<Type>::kParts; ++i) {
    const uint32_t(&word)[4] = raw.part[i].word;
    static_cast<uint4*>(to)[i] = make_uint4(word[0], word[1], word[2], word[3]);
  }
}

// Four floats, then those `step` floats further.
__device__ __forceinline__ void load_floats(const float* from, float (&v)[8], int step = 4) {
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const float4 four = __ldg(reinterpret_cast<const float4*>(from + i * step));
    v[4 * i] = four.x, v[4 * i + 1] = four.y, v[4 * i + 2] = four.z, v[4 * i + 3] = four.w;
  }
}

// 1 / sqrt(mean + eps); NaN if the sum is not finite, or a head of zeros would hide it.
__device__ __forceinline__ float head_inverse(float squares, int head_dim, float eps) {
  if (!(squares < __uint_as_float(0x7f800000u))) return __uint_as_float(0x7fc00000u);
  const float mean = __fdiv_rn(squares, static_cast<float>(head_dim));
  return __frcp_rn(__fsqrt_rn(__fadd_rn(mean, eps)));
}

__device__ __forceinline__ void rotate(float& low, float& high, float cosine, float sine) {
  const float a = low, b = high;
  low = __fmaf_rn(a, cosine, -__fmul_rn(b, sine));
  high = __fmaf_rn(b, cosine, __fmul_rn(a, sine));
}

// What a lane holds of a head.
struct HeadPart {
  float low[8], high[8];  // channels j .. j + 7 and d/2 further
};

// The angles of a token, those of the lane's channels: 8 for pairs of low and high, or 4 for the
// pairs within low and 4 for those within high.
struct LaneAngles {
  float cosine[8], sine[8];
};

// What is done to the heads: norm and rotation, both compiled in, or what the parameters ask for.
enum class HeadSteps { kHalves, kAdjacent, kAsked };

inline HeadSteps head_steps(const QkNormRopeParams& p) {
  if (p.q_weight == nullptr || p.k_weight == nullptr || p.cos == nullptr) return HeadSteps::kAsked;
  return p.pairing == RopePairing::kAdjacent ? HeadSteps::kAdjacent : HeadSteps::kHalves;
}

template <HeadSteps kSteps>
__device__ __forceinline__ bool turns_adjacent(const QkNormRopeParams& p) {
  return kSteps == HeadSteps::kAdjacent ||
         (kSteps == HeadSteps::kAsked && p.pairing == RopePairing::kAdjacent);
}

template <HeadSteps kSteps>
__device__ __forceinline__ void turn(const QkNormRopeParams& p, HeadPart& x,
                                     const LaneAngles& angles) {
  if (kSteps == HeadSteps::kAsked && p.cos == nullptr) return;
  if (turns_adjacent<kSteps>(p)) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      rotate(x.low[2 * i], x.low[2 * i + 1], angles.cosine[i], angles.sine[i]);
      rotate(x.high[2 * i], x.high[2 * i + 1], angles.cosine[4 + i], angles.sine[4 + i]);
    }
  } else {
#pragma unroll
    for (int i = 0; i < 8; ++i) rotate(x.low[i], x.high[i], angles.cosine[i], angles.sine[i]);
  }
}

// All lanes of the warp call it together; those of a head share its sum. `weight`: of the head's
// operand.
template <int kHeadDim, HeadSteps kSteps>
__device__ __forceinline__ void norm_rope(const QkNormRopeParams& p, HeadPart& x,
                                          const float* weight, int channel,
                                          const LaneAngles& angles) {
  float squares = 0.0f;
#pragma unroll
  for (int i = 0; i < 8; ++i)
    squares = __fmaf_rn(x.high[i], x.high[i], __fmaf_rn(x.low[i], x.low[i], squares));
#pragma unroll
  for (int step = HeadConfig<kHeadDim>::kLanes / 2; step > 0; step /= 2)
    squares = __fadd_rn(squares, __shfl_xor_sync(0xffffffffu, squares, step));
  if (kSteps != HeadSteps::kAsked || weight != nullptr) {
    const float inverse = head_inverse(squares, kHeadDim, p.eps);
    float low_weight[8], high_weight[8];
    load_floats(weight + channel, low_weight);
    load_floats(weight + channel + kHeadDim / 2, high_weight);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      x.low[i] = __fmul_rn(__fmul_rn(x.low[i], inverse), low_weight[i]);
      x.high[i] = __fmul_rn(__fmul_rn(x.high[i], inverse), high_weight[i]);
    }
  }
  turn<kSteps>(p, x, angles);
}

template <int kHeadDim, HeadSteps kSteps>
__device__ __forceinline__ LaneAngles load_angles(const QkNormRopeParams& p, int64_t token,
                                                  int channel) {
  LaneAngles angles{};
  if (kSteps == HeadSteps::kAsked && p.cos == nullptr) return angles;
  const bool adjacent = turns_adjacent<kSteps>(p);
  const int64_t first = token * (kHeadDim / 2) + (adjacent ? channel / 2 : channel);
  const int step = adjacent ? kHeadDim / 4 : 4;
  load_floats(p.cos + first, angles.cosine, step);
  load_floats(p.sin + first, angles.sine, step);
  return angles;
}

// --- the heads of one token: in place, or q to int8 ---

// kUnroll: heads a lane loads before it uses one. The int8 launch has the registers for 4, because
// its blocks of keys need them.
template <class Type, int kHeadDim, HeadSteps kSteps, bool kInt8, int kUnroll = kInt8 ? 4 : 2>
__device__ __forceinline__ void norm_rope_token(const QkNormRopeParams& p, int64_t token) {
  using C = HeadConfig<kHeadDim>;
  const int group = threadIdx.x / C::kLanes;
  const int channel = threadIdx.x % C::kLanes * 8;
  const int count = kInt8 ? p.heads : p.heads + p.kv_heads;
  const LaneAngles angles = load_angles<kHeadDim, kSteps>(p, token, channel);
  const auto part_of = [&](int head) {
    char* const base = static_cast<char*>(head < p.heads ? p.q : p.k);
    const int64_t at = head < p.heads ? head : head - p.heads;
    return base + (token * p.ld + at * kHeadDim + channel) * Type::kBytes;
  };
  // Warps stay together for the sums: groups past the last head work on zeros, warps leave.
  for (int first = 0; first < count; first += C::kGroups * kUnroll) {
    Eight<Type> raw[kUnroll][2];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int head = first + u * C::kGroups + group;
      const char* const from = part_of(head);
      raw[u][0] = load_eight<Type>(from, head < count);
      raw[u][1] = load_eight<Type>(from + C::kHalf * Type::kBytes, head < count);
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int head = first + u * C::kGroups + group;
      if (head - group % C::kGroupsOfWarp >= count) break;  // the whole warp
      HeadPart x;
      unpack_eight<Type>(raw[u][0], x.low);
      unpack_eight<Type>(raw[u][1], x.high);
      norm_rope<kHeadDim, kSteps>(p, x, head < p.heads ? p.q_weight : p.k_weight, channel, angles);
      if constexpr (kInt8) {
        uint32_t most = max(magnitude(x.low), magnitude(x.high));
#pragma unroll
        for (int step = C::kLanes / 2; step > 0; step /= 2)
          most = max(most, __shfl_xor_sync(0xffffffffu, most, step));
        const DeviceRowScale scale = device_row_scale(most);
        if (head >= count) continue;
        const int64_t row = head * p.tokens + token;
        if (channel == 0) p.q_scale[row] = scale.scale;
        store_quantized(p.q8 + row * kHeadDim + channel, x.low, scale);
        store_quantized(p.q8 + row * kHeadDim + C::kHalf + channel, x.high, scale);
      } else {
        if (head >= count) continue;
        char* const to = part_of(head);
        store_eight<Type>(to, pack_eight<Type>(x.low));
        store_eight<Type>(to + C::kHalf * Type::kBytes, pack_eight<Type>(x.high));
      }
    }
  }
}

// Named, it keeps the compiler from saving a last register of adjacent floats by a spill. 0: not
// named.
template <class Type, HeadSteps kSteps>
inline constexpr int kLeastBlocks = Type::kBytes < 4 || kSteps != HeadSteps::kAdjacent ? 0 : 1;

template <class Type, int kHeadDim, HeadSteps kSteps>
__global__ void __launch_bounds__(kNormRopeThreads, kLeastBlocks<Type, kSteps>)
    norm_rope_tokens(const __grid_constant__ QkNormRopeParams p) {
  norm_rope_token<Type, kHeadDim, kSteps, false>(p, blockIdx.x);
}

// --- int8: keys in place and their sums ---

// [kv_heads, key_blocks, head_dim] sums, then [kv_heads, head_dim] means.
__device__ __forceinline__ float* key_sums(const QkNormRopeParams& p) {
  return static_cast<float*>(p.workspace);
}
__device__ __forceinline__ float* key_mean(const QkNormRopeParams& p, int head) {
  return key_sums(p) + (p.kv_heads * key_blocks(p) + head) * p.head_dim;
}

template <class Type, int kHeadDim, HeadSteps kSteps>
__device__ __forceinline__ void norm_rope_keys(const QkNormRopeParams& p, int64_t key_block,
                                               int first_head) {
  using C = HeadConfig<kHeadDim>;
  __shared__ float shared_sums[C::kGroups][kHeadDim];
  const int group = threadIdx.x / C::kLanes;
  const int channel = threadIdx.x % C::kLanes * 8;
  HeadPart sums[C::kKeyHeads] = {};
#pragma unroll 1
  for (int i = group; i < kS8KeyBlock; i += C::kGroups) {
    const int64_t token = key_block * kS8KeyBlock + i;
    const bool exists = token < p.tokens;
    char* const row = static_cast<char*>(p.k) +
                      (token * p.ld + int64_t{first_head} * kHeadDim + channel) * Type::kBytes;
    Eight<Type> raw[C::kKeyHeads][2];
#pragma unroll
    for (int h = 0; h < C::kKeyHeads; ++h) {
      const bool valid = exists && first_head + h < p.kv_heads;
      const char* const from = row + h * kHeadDim * Type::kBytes;
      raw[h][0] = load_eight<Type>(from, valid);
      raw[h][1] = load_eight<Type>(from + C::kHalf * Type::kBytes, valid);
    }
    // Tokens past the end borrow the last one's angles.
    const LaneAngles angles = load_angles<kHeadDim, kSteps>(p, min(token, p.tokens - 1), channel);
#pragma unroll
    for (int h = 0; h < C::kKeyHeads; ++h) {
      HeadPart x;
      unpack_eight<Type>(raw[h][0], x.low);
      unpack_eight<Type>(raw[h][1], x.high);
      norm_rope<kHeadDim, kSteps>(p, x, p.k_weight, channel, angles);
      if (!exists || first_head + h >= p.kv_heads) continue;
      const Eight<Type> low = pack_eight<Type>(x.low), high = pack_eight<Type>(x.high);
      char* const to = row + h * kHeadDim * Type::kBytes;
      store_eight<Type>(to, low);
      store_eight<Type>(to + C::kHalf * Type::kBytes, high);
      // The mean is that of what quantize_keys will read.
      unpack_eight<Type>(low, x.low);
      unpack_eight<Type>(high, x.high);
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        sums[h].low[e] = __fadd_rn(sums[h].low[e], x.low[e]);
        sums[h].high[e] = __fadd_rn(sums[h].high[e], x.high[e]);
      }
    }
  }
#pragma unroll
  for (int h = 0; h < C::kKeyHeads; ++h) {
    if (first_head + h >= p.kv_heads) return;  // the whole block
    if (h > 0) __syncthreads();                // the previous head's sums have been read
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      shared_sums[group][channel + e] = sums[h].low[e];
      shared_sums[group][channel + C::kHalf + e] = sums[h].high[e];
    }
    __syncthreads();
    float* const to = key_sums(p) + ((first_head + h) * key_blocks(p) + key_block) * kHeadDim;
    for (int c = threadIdx.x; c < kHeadDim; c += kNormRopeThreads) {
      float sum = 0.0f;
#pragma unroll
      for (int g = 0; g < C::kGroups; ++g) sum = __fadd_rn(sum, shared_sums[g][c]);
      to[c] = sum;
    }
  }
}

// Blocks of keys first, head pairs fastest: those at work together share the angles in L2. Then a
// block for each token of q.
template <class Type, int kHeadDim, HeadSteps kSteps>
__global__ void __launch_bounds__(kNormRopeThreads)
    norm_rope_int8(const __grid_constant__ QkNormRopeParams p) {
  constexpr int kKeyHeads = HeadConfig<kHeadDim>::kKeyHeads;
  const int pairs = (p.kv_heads + kKeyHeads - 1) / kKeyHeads;
  const int64_t of_keys = key_blocks(p) * pairs;
  const int64_t block = blockIdx.x;
  if (block < of_keys) {
    norm_rope_keys<Type, kHeadDim, kSteps>(p, block / pairs,
                                           static_cast<int>(block % pairs) * kKeyHeads);
  } else {
    norm_rope_token<Type, kHeadDim, kSteps, true>(p, block - of_keys);
  }
}

// --- int8: means and keys ---

inline constexpr int kKeyMeanChannels = 32, kKeyMeanRows = 8;

// A block 32 channels of a head; blockIdx.x = head * ceil(head_dim / 32) + slice. 8 threads a
// channel, each every eighth block of keys.
static __global__ void __launch_bounds__(kKeyMeanChannels* kKeyMeanRows)
    key_means(const __grid_constant__ QkNormRopeParams p) {
  __shared__ float sums[kKeyMeanRows][kKeyMeanChannels];
  const int slices = (p.head_dim + kKeyMeanChannels - 1) / kKeyMeanChannels;
  const int head = static_cast<int>(blockIdx.x) / slices;
  const int lane = threadIdx.x % kKeyMeanChannels, row = threadIdx.x / kKeyMeanChannels;
  const int channel = static_cast<int>(blockIdx.x) % slices * kKeyMeanChannels + lane;
  const float* const from = key_sums(p) + head * key_blocks(p) * p.head_dim + channel;
  float sum = 0.0f;
  if (channel < p.head_dim) {
#pragma unroll 4
    for (int64_t b = row; b < key_blocks(p); b += kKeyMeanRows)
      sum = __fadd_rn(sum, from[b * p.head_dim]);
  }
  sums[row][lane] = sum;
  __syncthreads();
  if (row != 0 || channel >= p.head_dim) return;
  for (int r = 1; r < kKeyMeanRows; ++r) sum = __fadd_rn(sum, sums[r][lane]);
  key_mean(p, head)[channel] = __fdiv_rn(sum, static_cast<float>(p.tokens));
}

// blockIdx.x = key block * kv_heads + head. A thread keeps its 8 channels from token to token, so
// their means are loaded once.
template <class Type, int kHeadDim>
__global__ void __launch_bounds__(kQuantizeKeysThreads, 1)
    quantize_keys(const __grid_constant__ QkNormRopeParams p) {
  constexpr int kPieces = kHeadDim / 8;  // of a token
  constexpr int kStep = kQuantizeKeysThreads / kPieces;
  constexpr int kChunks = kS8KeyBlock / kStep;
  __shared__ uint32_t maxima[32];
  const int head = static_cast<int>(blockIdx.x % p.kv_heads);
  const int64_t key_block = blockIdx.x / p.kv_heads;
  const int channel = threadIdx.x % kPieces * 8;
  const int64_t first = key_block * kS8KeyBlock + threadIdx.x / kPieces;
  const char* const k = static_cast<const char*>(p.k);

  Eight<Type> raw[kChunks];
#pragma unroll
  for (int i = 0; i < kChunks; ++i) {
    const int64_t token = first + i * kStep;
    raw[i] = load_eight<Type>(
        k + (token * p.ld + int64_t{head} * kHeadDim + channel) * Type::kBytes, token < p.tokens);
  }
  float mean[8];
  load_floats(key_mean(p, head) + channel, mean);
  const auto centered = [&](int i, float(&v)[8]) {
    unpack_eight<Type>(raw[i], v);
#pragma unroll
    for (int e = 0; e < 8; ++e) v[e] = __fsub_rn(v[e], mean[e]);
  };
  uint32_t most = 0;
#pragma unroll
  for (int i = 0; i < kChunks; ++i) {
    float v[8];
    centered(i, v);
    if (first + i * kStep < p.tokens) most = max(most, magnitude(v));
  }
  const DeviceRowScale scale = device_row_scale(block_max(most, maxima));
  if (threadIdx.x == 0) p.k_scale[head * key_blocks(p) + key_block] = scale.scale;
#pragma unroll
  for (int i = 0; i < kChunks; ++i) {
    const int64_t token = first + i * kStep;
    float v[8];
    centered(i, v);
    if (token < p.tokens)
      store_quantized(p.k8 + (head * p.tokens + token) * kHeadDim + channel, v, scale);
  }
}

}  // namespace intaglio::cuda
