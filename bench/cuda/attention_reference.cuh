// Attention as its formula says (ops/cuda/attention_params.h), in float64, one thread per number:
// what the kernels are compared with.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "device_bench.cuh"
#include "ops/cuda/attention_params.h"

namespace intaglio::bench {

// Of every output: the value, and what its error may be measured by.
struct ReferenceOutputs {
  double* value;   // [tokens, heads * head_dim], dense, as the others
  double* spread;  // sqrt(sum (w v)^2): errors of the weights that are independent add up to this
  double* mass;    // sum w |v|: errors that are not
  // [heads, tokens]: the largest sum |q k| / sqrt(head_dim) of a row, the scale of rounding errors
  // in its logits
  float* reach;
  double* logits;  // [heads, tokens, tokens]
};

template <bool kS8>
__device__ double query_at(const cuda::AttentionParams& p, int64_t head, int64_t token, int c) {
  if constexpr (kS8) {
    const int64_t row = head * p.tokens + token;
    return double(static_cast<const int8_t*>(p.q)[row * p.head_dim + c]) * p.q_scale[row];
  } else {
    return __bfloat162float(
        static_cast<const __nv_bfloat16*>(p.q)[token * p.ldq + head * p.head_dim + c]);
  }
}

template <bool kS8>
__device__ double key_at(const cuda::AttentionParams& p, int64_t head, int64_t token, int c) {
  if constexpr (kS8) {
    const int64_t blocks = (p.tokens - 1) / kS8KeyBlock + 1;
    const int64_t at = (head * p.tokens + token) * p.head_dim + c;
    return double(static_cast<const int8_t*>(p.k)[at]) *
           p.k_scale[head * blocks + token / kS8KeyBlock];
  } else {
    return __bfloat162float(
        static_cast<const __nv_bfloat16*>(p.k)[token * p.ldk + head * p.head_dim + c]);
  }
}

// One thread a logit. r.reach starts as zeros.
template <bool kS8>
__global__ void reference_logits(cuda::AttentionParams p, ReferenceOutputs r) {
  const int64_t at = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (at >= int64_t{p.heads} * p.tokens * p.tokens) return;
  const int64_t key = at % p.tokens, row = at / p.tokens;
  const int64_t token = row % p.tokens, head = row / p.tokens;
  const int64_t kv_head = head / (p.heads / p.kv_heads);
  double sum = 0.0, reach = 0.0;
  for (int c = 0; c < p.head_dim; ++c) {
    const double product = query_at<kS8>(p, head, token, c) * key_at<kS8>(p, kv_head, key, c);
    sum += product;
    reach += fabs(product);
  }
  const bool hidden = p.causal != 0 && key > token;
  r.logits[at] = hidden ? -INFINITY : sum / sqrt(double(p.head_dim));
  const float scaled = static_cast<float>(reach / sqrt(double(p.head_dim)));
  if (!hidden && scaled > 0.0f)  // floats above zero are ordered as their bits
    atomicMax(reinterpret_cast<int*>(r.reach + row), __float_as_int(scaled));
}

// One thread an output.
static __global__ void reference_out(cuda::AttentionParams p, ReferenceOutputs r) {
  const int64_t columns = int64_t{p.heads} * p.head_dim;
  const int64_t at = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (at >= columns * p.tokens) return;
  const int64_t token = at / columns, head = at % columns / p.head_dim;
  const double* logits = r.logits + (head * p.tokens + token) * p.tokens;
  const auto* v = static_cast<const __nv_bfloat16*>(p.v) +
                  head / (p.heads / p.kv_heads) * p.head_dim + at % p.head_dim;
  double top = -INFINITY;
  for (int64_t s = 0; s < p.tokens; ++s) top = fmax(top, logits[s]);  // passes over NaN
  double sum = 0.0, value = 0.0, squares = 0.0, mass = 0.0;
  for (int64_t s = 0; s < p.tokens; ++s) {
    const double w = exp(logits[s] - top), x = __bfloat162float(v[s * p.ldv]);
    if (w == 0.0) continue;
    sum += w;
    value += w * x;
    squares += w * x * w * x;
    mass += w * fabs(x);
  }
  r.value[at] = value / sum;
  r.spread[at] = sqrt(squares) / sum;
  r.mass[at] = mass / sum;
}

inline void run_reference(const cuda::AttentionParams& p, bool s8, const ReferenceOutputs& r) {
  constexpr int kThreads = 256;
  const auto blocks = [](int64_t of) {
    return static_cast<unsigned>((of + kThreads - 1) / kThreads);
  };
  const int64_t rows = int64_t{p.heads} * p.tokens;
  require(cudaMemset(r.reach, 0, rows * sizeof(float)), "memset");
  if (s8) {
    reference_logits<true><<<blocks(rows * p.tokens), kThreads>>>(p, r);
  } else {
    reference_logits<false><<<blocks(rows * p.tokens), kThreads>>>(p, r);
  }
  reference_out<<<blocks(rows * p.head_dim), kThreads>>>(p, r);
  require(cudaGetLastError(), "reference");
  require(cudaDeviceSynchronize(), "reference");
}

// A number of a normal distribution, the same for the same index and seed.
__device__ inline float normal_at(int64_t index, uint32_t seed) {
  const auto uniform = [&](uint32_t salt) {
    uint64_t z = (static_cast<uint64_t>(index) * 2 + salt + 1) * 0x9e3779b97f4a7c15ull + seed;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return (static_cast<float>((z ^ (z >> 31)) >> 40) + 0.5f) * 0x1p-24f;
  };
  return sqrtf(-2.0f * logf(uniform(0))) * cospif(2.0f * uniform(1));
}

static __global__ void fill_normal(__nv_bfloat16* x, int64_t count, uint32_t seed) {
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * blockDim.x)
    x[i] = __float2bfloat16(normal_at(i, seed));
}

// What quantizing rows of normals gives: the largest of a row is near 3.5 deviations.
static __global__ void fill_normal_s8(int8_t* x, int64_t count, uint32_t seed) {
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * blockDim.x)
    x[i] = static_cast<int8_t>(
        rintf(fminf(fmaxf(normal_at(i, seed) * (127.0f / 3.5f), -127.0f), 127.0f)));
}

static __global__ void fill_constant(float* x, int64_t count, float value) {
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * blockDim.x)
    x[i] = value;
}

}  // namespace intaglio::bench
