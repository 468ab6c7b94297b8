// Scaled dot-product attention and what is done to q and k before it.
#pragma once

#include <cstdint>
#include <span>

#include "core/context.h"
#include "core/dtype.h"
#include "core/registry.h"
#include "core/status.h"
#include "ops/s8_key_block.h"

namespace intaglio {

// cos and sin of the rope angles, [tokens, head_dim / 2] each; formed in float64 from positions
// (src/models), stored float32.
struct RopeTable {
  const float* cos = nullptr;
  const float* sin = nullptr;
};

// How q k^T is computed.
enum class AttentionScores {
  kFloat,  // in the type of q and k
  kS8,     // int8 x int8 -> int32 of heads that qk_norm_rope has quantized
};

// How the sum over v is computed.
//
// kS8 (after kS8 scores alone, not causal): v as ops/s8_values.h has it, which attention makes of v
// itself, in scratch. With x = q . k / sqrt(head_dim) and the greatest x of each kS8ValueKeys keys
// from a multiple of that on as their reference r:
//   w[s] = exp(x[s] - r)                     p[s] = round_half_even(255 w[s]), 0 to 255
//   out = mean + scale * sum exp(r) sum p[s] values[s] / (255 sum exp(r) sum w[s])
// The inner sums over a group are exact integers; the divisor is of what was not rounded, so that
// what rounding takes from a weight goes to the mean of v and not to the other keys. For a channel,
// with W[s] the exact softmax weights and R[s] the greatest of their group:
//   |out - sum W[s] v[s]| <= sum R[s] (|v[s] - mean| + scale / 2) / 510 + scale / 2
// and a float's rounding beside it.
enum class AttentionValues {
  kFloat,  // in the type of v, weights rounded to it
  kS8,     // uint8 x int8 -> int32
};

// q and k of every head quantized, all in one block of memory: the real q[t, h] is q[h, t] *
// q_scale[h, t], the real k[t, h] is k[h, t] * k_scale[h, t / kS8KeyBlock] + mean[h]; the mean over
// the tokens adds the same to all scores of a query, which softmax ignores.
struct S8Heads {
  int8_t* q = nullptr;       // [heads, tokens, head_dim]
  int8_t* k = nullptr;       // [kv_heads, tokens, head_dim]
  float* q_scale = nullptr;  // [heads, tokens]
  float* k_scale = nullptr;  // [kv_heads, ceil(tokens / kS8KeyBlock)]
};

// Which channels a and b of a head turn together by angle j, 0 <= j < d/2: a' = a cos[j] - b
// sin[j], b' = b cos[j] + a sin[j].
enum class RopePairing {
  kHalves,    // j and j + d/2
  kAdjacent,  // 2j and 2j + 1
};

// In place on the q and k heads of a fused buffer: RMSNorm over each head (x / sqrt(mean(x^2) +
// eps) * weight), then rotation in pairs. What is null is not done: q or k without its weight is
// not normed, without a rope nothing turns. With neither, AttentionScores::kS8 only quantizes: so q
// and k that are normed in parts, each with other weights, become int8 heads of the whole.
struct QkNormRopeArgs {
  // [tokens, heads, head_dim], token stride ld elements; for AttentionScores::kS8 nullptr too: q's
  // int8 heads are there, those of k alone are made.
  void* q = nullptr;
  void* k = nullptr;  // [tokens, kv_heads, head_dim], token stride ld elements
  int64_t ld = 0;
  const float* q_weight = nullptr;  // [head_dim] or nullptr
  const float* k_weight = nullptr;  // [head_dim] or nullptr
  RopeTable rope;                   // cos and sin, or neither
  RopePairing pairing = RopePairing::kHalves;
  float eps = 0.0f;
  S8Heads s8{};  // written for AttentionScores::kS8; what q and k themselves hold then is undefined
};

struct AttentionDesc {
  int64_t tokens = 0;                             // of q and out
  int64_t heads = 0, kv_heads = 0, head_dim = 0;  // heads % kv_heads == 0
  bool causal = false;
  DType dtype =
      DType::kF32;  // of q, k, v and out: kF32 or kBF16; softmax and sums are fp32 in both
  AttentionScores scores = AttentionScores::kFloat;
  AttentionValues values = AttentionValues::kFloat;
  // Tokens of k and v; 0: as many as of q. Another number is neither causal nor of int8 scores.
  int64_t keys = 0;

  int64_t key_tokens() const { return keys == 0 ? tokens : keys; }
};

// out[t, h] = softmax_s(q[t, h] . k[s, h / group] / sqrt(head_dim)) v[s]
struct AttentionArgs {
  const void* q = nullptr;  // [tokens, heads, head_dim], token stride ldq elements
  const void* k = nullptr;  // [key_tokens, kv_heads, head_dim], token stride ldk
  const void* v = nullptr;  // [key_tokens, kv_heads, head_dim], token stride ldv
  int64_t ldq = 0, ldk = 0, ldv = 0;
  void* out = nullptr;  // [tokens, heads * head_dim], token stride ldo
  int64_t ldo = 0;      // 0: dense, heads * head_dim
  S8Heads s8{};         // read instead of q and k for AttentionScores::kS8
};

// Memory of the heads, to be taken from an arena.
size_t s8_heads_bytes(const AttentionDesc& desc);
Expected<S8Heads> take_s8_heads(Arena& arena, const AttentionDesc& desc);

struct AttentionImplementation {
  // "sm90a_s8_attention", "sm80_s8_values_attention", "amx_bf16_attention", "avx512bf16_attention", "avx512_f32_attention",
  // "avx2_f32_attention", "ref_attention"
  const char* name;
  Refusal (*can_run)(const AttentionDesc&, const Context&);
  size_t (*scratch_bytes)(const AttentionDesc&, int threads);
  Status (*run)(const Context&, const AttentionDesc&, const AttentionArgs&);
  DeviceKind device = DeviceKind::kCpu;
};

std::span<const AttentionImplementation> attention_implementations();
Expected<const AttentionImplementation*> choose_attention(const AttentionDesc& desc,
                                                          const Context& context);
// Of the implementation that would run.
size_t attention_scratch_bytes(const Context& context, const AttentionDesc& desc);
Status attention(const Context& context, const AttentionDesc& desc, const AttentionArgs& args);

struct QkNormRopeImplementation {
  const char* name;  // "avx512_qk_norm_rope", "avx2_qk_norm_rope", "ref_qk_norm_rope"
  Refusal (*can_run)(const AttentionDesc&, const Context&);
  Status (*run)(const Context&, const AttentionDesc&, const QkNormRopeArgs&);
  DeviceKind device = DeviceKind::kCpu;
};

std::span<const QkNormRopeImplementation> qk_norm_rope_implementations();
size_t qk_norm_rope_scratch_bytes(const Context& context, const AttentionDesc& desc);
Status qk_norm_rope(const Context& context, const AttentionDesc& desc, const QkNormRopeArgs& args);

}  // namespace intaglio
