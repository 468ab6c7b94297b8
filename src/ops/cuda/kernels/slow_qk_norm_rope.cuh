// The norm and rotation of q and k for any even head dimension and any alignment: right, not fast.
//
// The formulas of ops/cuda/qk_norm_rope_params.h, channel by channel. A warp a head of a token in
// place (or q to int8); a block 64 tokens of a head for the sums and the numbers of k. key_means of
// qk_norm_rope.cuh goes between the two.
#pragma once

#include "ops/cuda/kernels/qk_norm_rope.cuh"

namespace intaglio::cuda {

template <class Type>
__device__ __forceinline__ float load_one(const void* x, int64_t at) {
  if constexpr (Type::kBytes == 4) {
    return static_cast<const float*>(x)[at];
  } else {
    return __uint_as_float(uint32_t{static_cast<const uint16_t*>(x)[at]} << 16);
  }
}

template <class Type>
__device__ __forceinline__ void store_one(void* x, int64_t at, float value) {
  if constexpr (Type::kBytes == 4) {
    static_cast<float*>(x)[at] = value;
  } else {
    static_cast<__nv_bfloat16*>(x)[at] = __float2bfloat16_rn(value);
  }
}

__device__ __forceinline__ int8_t quantize_one(float value, const DeviceRowScale& scale) {
  const float four[4] = {value, 0.0f, 0.0f, 0.0f};
  return static_cast<int8_t>(quantize4(four, scale));
}

// A warp a head of a token, q before k.
template <class Type>
__global__ void __launch_bounds__(kNormRopeThreads)
    slow_norm_rope(const __grid_constant__ QkNormRopeParams p) {
  constexpr int kWarps = kNormRopeThreads / 32;
  const int lane = threadIdx.x % 32, half = p.head_dim / 2;
  const int count = p.heads + p.kv_heads;
  for (int64_t item = int64_t{blockIdx.x} * kWarps + threadIdx.x / 32; item < p.tokens * count;
       item += int64_t{gridDim.x} * kWarps) {
    const int64_t token = item / count;
    const int head = static_cast<int>(item % count);
    const bool is_q = head < p.heads;
    void* const x = is_q ? p.q : p.k;
    const int64_t start = token * p.ld + int64_t{is_q ? head : head - p.heads} * p.head_dim;
    const float* const weight = is_q ? p.q_weight : p.k_weight;
    float squares = 0.0f;
    for (int j = lane; j < p.head_dim; j += 32) {
      const float v = load_one<Type>(x, start + j);
      squares = __fmaf_rn(v, v, squares);
    }
    const float inverse = head_inverse(warp_sum(squares), p.head_dim, p.eps);
    // The channels of pair j: first_of(j) and the one `apart` from it.
    const bool adjacent = p.pairing == RopePairing::kAdjacent;
    const int apart = adjacent ? 1 : half;
    const auto first_of = [&](int j) { return adjacent ? 2 * j : j; };
    const auto normed = [&](int c) {
      const float v = load_one<Type>(x, start + c);
      return weight == nullptr ? v : __fmul_rn(__fmul_rn(v, inverse), weight[c]);
    };
    const auto pair = [&](int j, float& low, float& high) {
      low = normed(first_of(j));
      high = normed(first_of(j) + apart);
      if (p.cos != nullptr) rotate(low, high, p.cos[token * half + j], p.sin[token * half + j]);
    };
    float low, high;
    if (!is_q || p.q8 == nullptr) {
      for (int j = lane; j < half; j += 32) {
        pair(j, low, high);
        store_one<Type>(x, start + first_of(j), low);
        store_one<Type>(x, start + first_of(j) + apart, high);
      }
      continue;
    }
    uint32_t most = 0;
    for (int j = lane; j < half; j += 32) {
      pair(j, low, high);
      most =
          max(most, max(__float_as_uint(low) & 0x7fffffffu, __float_as_uint(high) & 0x7fffffffu));
    }
    const DeviceRowScale scale = device_row_scale(warp_max(most));
    const int64_t row = head * p.tokens + token;
    if (lane == 0) p.q_scale[row] = scale.scale;
    for (int j = lane; j < half; j += 32) {
      pair(j, low, high);
      int8_t* const to = p.q8 + row * p.head_dim + first_of(j);
      to[0] = quantize_one(low, scale);
      to[apart] = quantize_one(high, scale);
    }
  }
}

// blockIdx.x = key block * kv_heads + head.
template <class Type>
__global__ void __launch_bounds__(kNormRopeThreads)
    slow_key_sums(const __grid_constant__ QkNormRopeParams p) {
  const int head = static_cast<int>(blockIdx.x % p.kv_heads);
  const int64_t key_block = blockIdx.x / p.kv_heads;
  const int64_t first = key_block * kS8KeyBlock;
  const int64_t end = min(first + kS8KeyBlock, p.tokens);
  float* const to = key_sums(p) + (head * key_blocks(p) + key_block) * p.head_dim;
  for (int c = threadIdx.x; c < p.head_dim; c += kNormRopeThreads) {
    float sum = 0.0f;
    for (int64_t token = first; token < end; ++token)
      sum = __fadd_rn(sum, load_one<Type>(p.k, token * p.ld + int64_t{head} * p.head_dim + c));
    to[c] = sum;
  }
}

template <class Type>
__global__ void __launch_bounds__(kNormRopeThreads)
    slow_quantize_keys(const __grid_constant__ QkNormRopeParams p) {
  __shared__ uint32_t maxima[32];
  const int head = static_cast<int>(blockIdx.x % p.kv_heads);
  const int64_t key_block = blockIdx.x / p.kv_heads;
  const int64_t first = key_block * kS8KeyBlock;
  const int64_t count = min(int64_t{kS8KeyBlock}, p.tokens - first) * p.head_dim;
  const float* const mean = key_mean(p, head);
  const auto centered = [&](int64_t i) {
    const int64_t c = i % p.head_dim;
    const int64_t at = (first + i / p.head_dim) * p.ld + int64_t{head} * p.head_dim + c;
    return __fsub_rn(load_one<Type>(p.k, at), mean[c]);
  };
  uint32_t most = 0;
  for (int64_t i = threadIdx.x; i < count; i += kNormRopeThreads)
    most = max(most, __float_as_uint(centered(i)) & 0x7fffffffu);
  const DeviceRowScale scale = device_row_scale(block_max(most, maxima));
  if (threadIdx.x == 0) p.k_scale[head * key_blocks(p) + key_block] = scale.scale;
  int8_t* const to = p.k8 + (head * p.tokens + first) * p.head_dim;
  for (int64_t i = threadIdx.x; i < count; i += kNormRopeThreads)
    to[i] = quantize_one(centered(i), scale);
}

}  // namespace intaglio::cuda
