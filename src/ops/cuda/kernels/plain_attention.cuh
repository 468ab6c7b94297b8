// plain_attention: attention on the float units, for sm_75 and up, any head size up to 1024,
// float32 or bf16. What the fast kernels are held against on a card, and what runs where they do
// not. Correct first; modest in speed.
//
//   out[t, h] = sum_s p[t, s] v[s] / sum_s p[t, s]        p[t, s] = exp(q[t, h] . k[s] / sqrt(head_dim)), s <= t if causal
//
// Layouts: ops/cuda/attention_params.h. A warp has kPlainRows queries of one head; lane l holds
// columns 4 (l + 32 i) .. + 3 of each (i < kPieces), and the same columns of their outputs.
// kPlainKeys keys at a time: products in the lanes, sums over the warp by shuffles, then the online
// softmax, the same in all lanes:
//
// There may be other tokens of k and v than of q, args.keys, without a causal mask.
//
// Of head sizes and rows that are no whole fours (Any*Elements) the same columns are read and
// written one by one; above 512 a warp has one query.
//
//   lane    0    1   ...  31 |  0   ...          keys come straight from L2 and L1; the four warps of a block walk the same keys.
//   q row  0..3 4..7 ...     | 128.. ...
//
// Numeric contract: all arithmetic float32, expf and the division within a unit or two in the last
// place; the sums' order depends on the head size only. Same input, same bits. A masked key is not
// touched: NaN or Inf in it shows nowhere. A row whose logits are all -Inf is NaN. Per query and
// key: head_dim / 16 FMA and 5 shuffles of a warp; the shuffles (one a cycle and SM) bound small
// heads.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "core/host_device.h"
#include "ops/cuda/attention_params.h"
#include "ops/cuda/ptx/softmax.cuh"

namespace intaglio::cuda {

inline constexpr int kPlainWarps = 4, kPlainRows = 4, kPlainKeys = 4;
inline constexpr int kPlainTileQ = kPlainWarps * kPlainRows;
inline constexpr int kPlainMostHead = 1024;
// Queries of a warp whose lanes hold so many pieces of a head each: what its registers leave room
// for.
INTAGLIO_HOST_DEVICE constexpr int plain_rows(int pieces) { return pieces <= 4 ? kPlainRows : 1; }

struct PlainAttentionArgs {
  AttentionParams p;
  float scale;  // 1 / sqrt(head_dim)
  int32_t tiles_q;
  int32_t keys;  // p.keys, or p.tokens
};

// Blocks an SM: what the registers of queries and outputs leave room for.
constexpr int plain_blocks(int pieces) { return pieces == 1 ? 4 : pieces == 2 ? 3 : 2; }

// Four neighbours of a row.
struct F32Elements {
  using Element = float;
  static constexpr bool kWhole = true;
  static __device__ __forceinline__ void load(const void* row, int column, float (&v)[4]) {
    const float4 four =
        __ldg(reinterpret_cast<const float4*>(static_cast<const float*>(row) + column));
    v[0] = four.x, v[1] = four.y, v[2] = four.z, v[3] = four.w;
  }
  static __device__ __forceinline__ void store(void* row, int column, const float (&v)[4]) {
    *reinterpret_cast<float4*>(static_cast<float*>(row) + column) = float4{v[0], v[1], v[2], v[3]};
  }
};

struct BF16Elements {
  using Element = uint16_t;
  static constexpr bool kWhole = true;
  static __device__ __forceinline__ void load(const void* row, int column, float (&v)[4]) {
    const uint2 two =
        __ldg(reinterpret_cast<const uint2*>(static_cast<const uint16_t*>(row) + column));
    v[0] = ptx::float_of_bits(two.x << 16), v[1] = ptx::float_of_bits(two.x & 0xffff0000u);
    v[2] = ptx::float_of_bits(two.y << 16), v[3] = ptx::float_of_bits(two.y & 0xffff0000u);
  }
  static __device__ __forceinline__ void store(void* row, int column, const float (&v)[4]) {
    const __nv_bfloat162 low = __floats2bfloat162_rn(v[0], v[1]);
    const __nv_bfloat162 high = __floats2bfloat162_rn(v[2], v[3]);
    *reinterpret_cast<uint2*>(static_cast<uint16_t*>(row) + column) =
        uint2{*reinterpret_cast<const uint32_t*>(&low), *reinterpret_cast<const uint32_t*>(&high)};
  }
};

// One at a time: any address, any number.
struct AnyF32Elements {
  using Element = float;
  static constexpr bool kWhole = false;
  static __device__ __forceinline__ float load(const float* at) { return *at; }
  static __device__ __forceinline__ void store(float* at, float v) { *at = v; }
};
struct AnyBF16Elements {
  using Element = uint16_t;
  static constexpr bool kWhole = false;
  static __device__ __forceinline__ float load(const uint16_t* at) {
    return ptx::float_of_bits(uint32_t{*at} << 16);
  }
  static __device__ __forceinline__ void store(uint16_t* at, float v) {
    const __nv_bfloat16 rounded = __float2bfloat16_rn(v);
    *at = *reinterpret_cast<const uint16_t*>(&rounded);
  }
};

// A row of one head in this lane; zeros past the head's last column.
template <class Elements, int kPieces>
__device__ __forceinline__ void load_head_row(const void* row, int head_dim, int lane,
                                              float (&v)[kPieces][4]) {
#pragma unroll
  for (int i = 0; i < kPieces; ++i) {
    const int column = 4 * (lane + 32 * i);
#pragma unroll
    for (int e = 0; e < 4; ++e) v[i][e] = 0.0f;
    if constexpr (Elements::kWhole) {
      if (column < head_dim) Elements::load(row, column, v[i]);
    } else {
      const auto* from = static_cast<const typename Elements::Element*>(row) + column;
#pragma unroll
      for (int e = 0; e < 4; ++e)
        if (column + e < head_dim) v[i][e] = Elements::load(from + e);
    }
  }
}

template <class Elements, int kPieces>
__global__ void __launch_bounds__(32 * kPlainWarps, plain_blocks(kPieces))
    plain_attention_kernel(const __grid_constant__ PlainAttentionArgs args) {
  using Element = typename Elements::Element;
  constexpr int kRows = plain_rows(kPieces);
  const AttentionParams& p = args.p;
  const int lane = threadIdx.x % 32, warp = __shfl_sync(0xffffffffu, threadIdx.x / 32, 0);
  const int head = blockIdx.x / args.tiles_q;
  const int row0 = blockIdx.x % args.tiles_q * (kPlainWarps * kRows) + warp * kRows;
  if (row0 >= p.tokens) return;  // a whole warp; there are no barriers
  const int64_t kv_column = int64_t{head / (p.heads / p.kv_heads)} * p.head_dim;
  const auto* q = static_cast<const Element*>(p.q) + int64_t{head} * p.head_dim;
  const auto* k = static_cast<const Element*>(p.k) + kv_column;
  const auto* v = static_cast<const Element*>(p.v) + kv_column;

  float query[kRows][kPieces][4], o[kRows][kPieces][4];
  float m[kRows], sum[kRows];
  int end[kRows];  // keys that the row sees
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    // Rows past the last one repeat it and are not stored.
    const int row = min(row0 + r, p.tokens - 1);
    load_head_row<Elements>(q + row * p.ldq, p.head_dim, lane, query[r]);
    end[r] = p.causal != 0 ? row + 1 : args.keys;
    m[r] =
        -0x1.fffffep127f;  // finite: a difference with it is never NaN for finite and -Inf logits
    sum[r] = 0.0f;
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        query[r][i][e] *= args.scale;
        o[r][i][e] = 0.0f;
      }
    }
  }

#pragma unroll 1
  for (int key0 = 0; key0 < end[kRows - 1]; key0 += kPlainKeys) {
    float logit[kRows][kPlainKeys];
#pragma unroll
    for (int j = 0; j < kPlainKeys; ++j) {
      float key[kPieces][4];
      const int64_t token = min(key0 + j, args.keys - 1);
      load_head_row<Elements>(k + token * p.ldk, p.head_dim, lane, key);
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        float dot = 0.0f;
#pragma unroll
        for (int i = 0; i < kPieces; ++i) {
#pragma unroll
          for (int e = 0; e < 4; ++e) dot = fmaf(query[r][i][e], key[i][e], dot);
        }
        logit[r][j] = dot;
      }
    }
#pragma unroll
    for (int step = 16; step > 0; step /= 2) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
#pragma unroll
        for (int j = 0; j < kPlainKeys; ++j) logit[r][j] += ptx::shuffle_xor(logit[r][j], step);
      }
    }
    // The same in all lanes from here on.
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      float most = m[r];
#pragma unroll
      for (int j = 0; j < kPlainKeys; ++j)
        if (key0 + j < end[r]) most = fmaxf(most, logit[r][j]);
      const float factor = expf(m[r] - most);
      m[r] = most;
      sum[r] *= factor;
#pragma unroll
      for (int i = 0; i < kPieces; ++i) {
#pragma unroll
        for (int e = 0; e < 4; ++e) o[r][i][e] *= factor;
      }
#pragma unroll
      for (int j = 0; j < kPlainKeys; ++j) {
        logit[r][j] = key0 + j < end[r] ? expf(logit[r][j] - most) : 0.0f;
        sum[r] += logit[r][j];
      }
    }
#pragma unroll
    for (int j = 0; j < kPlainKeys; ++j) {
      if (key0 + j >= end[kRows - 1]) break;
      float value[kPieces][4];
      load_head_row<Elements>(v + int64_t{key0 + j} * p.ldv, p.head_dim, lane, value);
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        if (key0 + j >= end[r]) continue;  // 0 * NaN
#pragma unroll
        for (int i = 0; i < kPieces; ++i) {
#pragma unroll
          for (int e = 0; e < 4; ++e) o[r][i][e] = fmaf(logit[r][j], value[i][e], o[r][i][e]);
        }
      }
    }
  }

#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    if (row0 + r >= p.tokens) break;
    auto* out = static_cast<Element*>(p.out) + (row0 + r) * p.ldo + int64_t{head} * p.head_dim;
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
      const int column = 4 * (lane + 32 * i);
      float y[4];
#pragma unroll
      for (int e = 0; e < 4; ++e) y[e] = o[r][i][e] / sum[r];
      if constexpr (Elements::kWhole) {
        if (column < p.head_dim) Elements::store(out, column, y);
      } else {
#pragma unroll
        for (int e = 0; e < 4; ++e)
          if (column + e < p.head_dim) Elements::store(out + column + e, y[e]);
      }
    }
  }
}

}  // namespace intaglio::cuda
