// What the CUDA attention kernels take: plain numbers and device pointers. Host and device.
//
//   out[t, h] = sum_s softmax_s(q[t, h] . k[s, h / group] / sqrt(head_dim)) v[s, h / group]        group = heads / kv_heads; causal: s <= t
//
// Floats (bf16 or f32, the kernel says which):
//   q [tokens, heads, head_dim], token stride ldq elements; k, v [tokens, kv_heads, head_dim],
//   strides ldk, ldv; out [tokens, heads * head_dim], stride ldo.
//   In the models q | k | v of a token lie side by side.
// int8 q and k:
//   q [heads, tokens, head_dim] and k [kv_heads, tokens, head_dim], dense (ldq, ldk are not read);
//   v and out bf16 as above, or v int8 with scales and means (ops/s8_values.h; ldv is not read).
//   The value of q is q * q_scale[head, token], that of k is k * k_scale[kv_head, token /
//   kS8KeyBlock]. Softmax and sums are float32. The softmax scale is applied by the kernel. Base
//   addresses and strides are multiples of 16 bytes.
#pragma once

#include <cstdint>

#include "ops/s8_key_block.h"

namespace intaglio::cuda {

struct AttentionParams {
  const void* q = nullptr;
  const void* k = nullptr;
  const void* v = nullptr;
  void* out = nullptr;
  int64_t ldq = 0, ldk = 0, ldv = 0, ldo = 0;  // elements
  int32_t tokens = 0, heads = 0, kv_heads = 0, head_dim = 0;
  int32_t causal = 0;              // 0 or 1
  int32_t keys = 0;                // tokens of k and v, not causal: plain_attention; 0: `tokens`
  const float* q_scale = nullptr;  // int8: [heads, tokens]
  const float* k_scale = nullptr;  // int8: [kv_heads, ceil(tokens / kS8KeyBlock)]
  const float* v_scale = nullptr;  // int8 v: [kv_heads, head_dim]
  const float* v_mean = nullptr;   // int8 v: [kv_heads, head_dim]
};

}  // namespace intaglio::cuda
