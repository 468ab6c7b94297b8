// What the CUDA norm and rotation of q and k takes: plain numbers and device pointers. Host and
// device.
//
//   n[c] = x[c] / sqrt(mean_c(x^2) + eps) * weight[c]                      each head of each token; n = x without a weight
//   y[a] = n[a] cos[j] - n[b] sin[j];  y[b] = n[b] cos[j] + n[a] sin[j]    (a, b) = (j, j + d/2) or (2j, 2j + 1); y = n without cos and sin
//
// In place (q8 == nullptr): q and k become y, rounded to their type.
// For int8 attention (q8 given): q is only read. Per token and head q8 = round(y * 127 / absmax),
// q_scale = absmax / 127, exactly as ops/quantize.h from the float y.
//   k becomes y in place, rounded to its type; from those values, with mean[c] over all tokens of
//   each head and channel, k8 and k_scale hold k - mean quantized by the same rule with one
//   scale for 64 tokens of a head. Taking the mean away shifts each row of q k^T by a constant,
//   which softmax does not see, and makes the numbers small.
//
// float32 arithmetic; sums in a fixed order: the same bits on each run. A head that is normed and
// whose sum of squares is not finite becomes NaN: in q8 as zeros with scale NaN. A NaN in k reaches
// the mean, and so every k_scale of its head.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/host_device.h"
#include "ops/cuda/quantize_rows_params.h"
#include "ops/s8_key_block.h"

namespace intaglio::cuda {

// The channels that turn together: j and j + d/2, or 2j and 2j + 1.
enum class RopePairing : int32_t { kHalves, kAdjacent };

struct QkNormRopeParams {
  DType type = DType::kBF16;        // of q and k: kBF16 or kF32
  void* q = nullptr;                // [tokens, heads, head_dim], token stride ld elements
  void* k = nullptr;                // [tokens, kv_heads, head_dim], token stride ld elements
  int64_t ld = 0;                   // >= heads * head_dim and kv_heads * head_dim
  const float* q_weight = nullptr;  // [head_dim] or nullptr: q is not normed
  const float* k_weight = nullptr;  // [head_dim] or nullptr: k is not normed
  const float* cos = nullptr;       // [tokens, head_dim / 2], or nullptr like sin: nothing turns
  const float* sin = nullptr;       // [tokens, head_dim / 2]
  float eps = 0.0f;
  int64_t tokens = 0;         // 0 to 2^24
  int32_t heads = 0;          // 0 to 1024; 0 with q8 alone: q is not read, nor q8 written
  int32_t kv_heads = 0;       // 1 to 1024
  int32_t head_dim = 0;       // even, 2 to 4096; 64, 128 and 256 are fast
  int8_t* q8 = nullptr;       // [heads, tokens, head_dim] or nullptr
  float* q_scale = nullptr;   // [heads, tokens]
  int8_t* k8 = nullptr;       // [kv_heads, tokens, head_dim]
  float* k_scale = nullptr;   // [kv_heads, ceil(tokens / 64)]
  void* workspace = nullptr;  // with q8: qk_norm_rope_workspace_bytes, at a multiple of 16 bytes
  RopePairing pairing = RopePairing::kHalves;
};
// Fast where q, k, cos, sin, weights, q8 and k8 are at multiples of 16 bytes and so are the tokens
// (ld); else the slow kernels run.

INTAGLIO_HOST_DEVICE int64_t key_blocks(const QkNormRopeParams& p) {
  return (p.tokens + kS8KeyBlock - 1) / kS8KeyBlock;
}

}  // namespace intaglio::cuda
