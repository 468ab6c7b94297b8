#include "ops/cuda/attention.h"

#include <optional>

#include "core/cuda/device.h"
#include "ops/attention_implementations.h"
#include "ops/cuda/kernel_trace.h"
#include "ops/cuda/launch/plain_attention.h"
#include "ops/cuda/launch/qk_norm_rope.h"
#include "ops/cuda/launch/sm80_attention.h"
#include "ops/cuda/launch/sm90a_attention.h"
#include "ops/cuda/s8_values.h"
#include "ops/cuda/stream.h"

namespace intaglio::cuda::op {
namespace {

bool is_fast_head(int64_t head_dim) { return head_dim == 64 || head_dim == 128 || head_dim == 256; }

Refusal refuse_shape(const AttentionDesc& desc) {
  if (desc.dtype != DType::kBF16) return "the buffers are not BF16";
  if (desc.key_tokens() != desc.tokens) return "as many keys as tokens alone";
  if (!is_fast_head(desc.head_dim)) return "the head size is not 64, 128 or 256";
  return nullptr;
}

Refusal refuse(const AttentionDesc& desc, const Context& context, AttentionScores scores) {
  if (const Refusal refusal = refuse_device(DeviceKind::kGpu, context)) return refusal;
  if (desc.scores != scores)
    return scores == AttentionScores::kS8 ? "the scores are float" : "the scores are int8";
  if (desc.values == AttentionValues::kS8) return "the values are int8";
  return refuse_shape(desc);
}

Refusal refuse_wgmma(const AttentionDesc& desc, const Context& context, AttentionScores scores) {
  if (const Refusal refusal = refuse(desc, context, scores)) return refusal;
  return may_use_wgmma(*context.gpu) ? nullptr : "no wgmma";
}

Refusal refuse_mma(const AttentionDesc& desc, const Context& context, AttentionScores scores) {
  if (const Refusal refusal = refuse(desc, context, scores)) return refusal;
  return context.gpu->compute_capability >= 80 ? nullptr : "needs compute capability 8.0";
}

AttentionParams params(const AttentionDesc& desc, const AttentionArgs& args) {
  AttentionParams p{.q = args.q,
                    .k = args.k,
                    .v = args.v,
                    .out = args.out,
                    .ldq = args.ldq,
                    .ldk = args.ldk,
                    .ldv = args.ldv,
                    .ldo = output_stride(desc, args),
                    .tokens = static_cast<int32_t>(desc.tokens),
                    .heads = static_cast<int32_t>(desc.heads),
                    .kv_heads = static_cast<int32_t>(desc.kv_heads),
                    .head_dim = static_cast<int32_t>(desc.head_dim),
                    .causal = desc.causal ? 1 : 0,
                    .keys = static_cast<int32_t>(desc.keys)};
  if (desc.scores == AttentionScores::kS8) {
    p.q = args.s8.q;
    p.k = args.s8.k;
    p.q_scale = args.s8.q_scale;
    p.k_scale = args.s8.k_scale;
  }
  return p;
}

AttentionType plain_type(const AttentionDesc& desc) {
  return desc.dtype == DType::kF32 ? AttentionType::kF32 : AttentionType::kBF16;
}

Status run_plain_kernel(const Context& context, const AttentionDesc& desc,
                        const AttentionArgs& args) {
  const AttentionParams p = params(desc, args);
  const AttentionType type = plain_type(desc);
  if (const char* reason = plain_attention_refusal(p, type))
    return make_error(ErrorCode::kUnsupported, "attention of {} heads x {}: {}", desc.heads,
                      desc.head_dim, reason);
  return device_status(plain_attention(p, type, stream_of(context)), "attention");
}

const char* sm90a_s8_tile(const AttentionParams& p) { return sm90a_attention_tile(p, true); }
const char* sm90a_bf16_tile(const AttentionParams& p) { return sm90a_attention_tile(p, false); }
const char* sm80_s8_tile(const AttentionParams& p) {
  return sm80_attention_tile(Sm80AttentionType::kS8, p);
}
const char* sm80_s8_values_tile(const AttentionParams& p) {
  return sm80_attention_tile(Sm80AttentionType::kS8Values, p);
}
const char* sm80_bf16_tile(const AttentionParams& p) {
  return sm80_attention_tile(Sm80AttentionType::kBF16, p);
}

// kTile(p) names the tile.
template <auto kLaunch, auto kTile>
Status launch(const Context& context, const AttentionDesc& desc, const AttentionParams& p,
              const char* name) {
  trace_kernel([&] {
    return fmt::format("attention {} tokens, {}/{} heads x {} on cuda:{}: {} {}", desc.tokens,
                       desc.heads, desc.kv_heads, desc.head_dim, context.gpu->ordinal, name,
                       kTile(p));
  });
  return device_status(kLaunch(p, stream_of(context)), "attention");
}

// What a faster kernel cannot do after all, the plain one does; it knows no int8 scores.
template <auto kRefusal, auto kLaunch, auto kTile>
Status run(const Context& context, const AttentionDesc& desc, const AttentionArgs& args,
           const char* name) {
  const AttentionParams p = params(desc, args);
  const char* const reason = kRefusal(p);
  if (reason == nullptr) return launch<kLaunch, kTile>(context, desc, p, name);
  if (desc.scores == AttentionScores::kS8)
    return make_error(ErrorCode::kUnsupported, "attention of {} tokens, {} heads x {}: {}",
                      desc.tokens, desc.heads, desc.head_dim, reason);
  trace_kernel([&] {
    return fmt::format("attention tokens={} heads={} x {}: plain_attention instead; {} refused: {}",
                       desc.tokens, desc.heads, desc.head_dim, name, reason);
  });
  return run_plain_kernel(context, desc, args);
}

// With no memory yet.
QuantizeValues quantize_values_of(const AttentionDesc& desc, const AttentionArgs& args) {
  return {.v = args.v,
          .ldv = args.ldv,
          .tokens = desc.tokens,
          .kv_heads = desc.kv_heads,
          .head_dim = desc.head_dim,
          .dtype = desc.dtype};
}

QkNormRopeParams rope_params(const AttentionDesc& desc) {
  QkNormRopeParams p;
  p.type = desc.dtype;
  p.tokens = desc.tokens;
  p.heads = static_cast<int32_t>(desc.heads);
  p.kv_heads = static_cast<int32_t>(desc.kv_heads);
  p.head_dim = static_cast<int32_t>(desc.head_dim);
  return p;
}

}  // namespace

size_t no_scratch(const AttentionDesc&, int) { return 0; }

Refusal sm90a_s8_refusal(const AttentionDesc& desc, const Context& context) {
  return refuse_wgmma(desc, context, AttentionScores::kS8);
}
Status run_sm90a_s8(const Context& context, const AttentionDesc& desc, const AttentionArgs& args) {
  return run<sm90a_s8_attention_refusal, sm90a_s8_attention, sm90a_s8_tile>(context, desc, args,
                                                                            "sm90a_s8_attention");
}

Refusal sm80_s8_refusal(const AttentionDesc& desc, const Context& context) {
  return refuse_mma(desc, context, AttentionScores::kS8);
}
Status run_sm80_s8(const Context& context, const AttentionDesc& desc, const AttentionArgs& args) {
  return run<sm80_s8_attention_refusal, sm80_s8_attention, sm80_s8_tile>(context, desc, args,
                                                                         "sm80_s8_attention");
}

Refusal sm80_s8_values_refusal(const AttentionDesc& desc, const Context& context) {
  if (const Refusal refusal = refuse_device(DeviceKind::kGpu, context)) return refusal;
  if (desc.values != AttentionValues::kS8) return "the values are float";
  if (const Refusal refusal = refuse_shape(desc)) return refusal;
  return context.gpu->compute_capability >= 80 ? nullptr : "needs compute capability 8.0";
}
size_t sm80_s8_values_scratch_bytes(const AttentionDesc& desc, int) {
  if (desc.tokens == 0) return 0;
  return quantized_values_bytes(desc.tokens, desc.kv_heads, desc.head_dim) +
         quantize_values_scratch_bytes(quantize_values_of(desc, {}));
}
Status run_sm80_s8_values(const Context& context, const AttentionDesc& desc,
                          const AttentionArgs& args) {
  Arena::Scope scope(*context.scratch);
  QuantizeValues values = quantize_values_of(desc, args);
  INTAGLIO_ASSIGN(values.out, take_quantized_values(*context.scratch, desc.tokens, desc.kv_heads,
                                                    desc.head_dim));
  AttentionParams p = params(desc, args);
  p.v = values.out.values;
  p.v_scale = values.out.scale;
  p.v_mean = values.out.mean;
  const char* reason = sm80_s8_values_attention_refusal(p);
  if (reason == nullptr) reason = quantize_values_refusal(values, context);
  if (reason != nullptr)
    return make_error(ErrorCode::kUnsupported, "attention of {} tokens, {} heads x {}: {}",
                      desc.tokens, desc.heads, desc.head_dim, reason);
  INTAGLIO_TRY(op::quantize_values(context, values));
  return launch<sm80_s8_values_attention, sm80_s8_values_tile>(context, desc, p,
                                                               "sm80_s8_values_attention");
}

Refusal sm90a_bf16_refusal(const AttentionDesc& desc, const Context& context) {
  return refuse_wgmma(desc, context, AttentionScores::kFloat);
}
Status run_sm90a_bf16(const Context& context, const AttentionDesc& desc,
                      const AttentionArgs& args) {
  return run<sm90a_bf16_attention_refusal, sm90a_bf16_attention, sm90a_bf16_tile>(
      context, desc, args, "sm90a_bf16_attention");
}

Refusal sm80_bf16_refusal(const AttentionDesc& desc, const Context& context) {
  return refuse_mma(desc, context, AttentionScores::kFloat);
}
Status run_sm80_bf16(const Context& context, const AttentionDesc& desc, const AttentionArgs& args) {
  return run<sm80_bf16_attention_refusal, sm80_bf16_attention, sm80_bf16_tile>(
      context, desc, args, "sm80_bf16_attention");
}

Refusal plain_refusal(const AttentionDesc& desc, const Context& context) {
  if (const Refusal refusal = refuse_device(DeviceKind::kGpu, context)) return refusal;
  return desc.scores == AttentionScores::kS8 ? "the scores are int8" : nullptr;
}
Status run_plain(const Context& context, const AttentionDesc& desc, const AttentionArgs& args) {
  return run_plain_kernel(context, desc, args);
}

Refusal qk_norm_rope_refusal(const AttentionDesc&, const Context& context) {
  return refuse_device(DeviceKind::kGpu, context);
}

size_t qk_norm_rope_scratch_bytes(const AttentionDesc& desc) {
  if (desc.scores != AttentionScores::kS8) return 0;
  QkNormRopeParams p = rope_params(desc);
  int8_t stand_in;  // only asked whether it is there
  p.q8 = &stand_in;
  return align_up(qk_norm_rope_workspace_bytes(p), kCacheLine);
}

Status qk_norm_rope(const Context& context, const AttentionDesc& desc, const QkNormRopeArgs& args) {
  QkNormRopeParams p = rope_params(desc);
  p.q = args.q;
  if (args.q == nullptr) p.heads = 0;
  p.k = args.k;
  p.ld = args.ld;
  p.q_weight = args.q_weight;
  p.k_weight = args.k_weight;
  p.cos = args.rope.cos;
  p.sin = args.rope.sin;
  p.pairing = args.pairing == intaglio::RopePairing::kAdjacent ? cuda::RopePairing::kAdjacent
                                                               : cuda::RopePairing::kHalves;
  p.eps = args.eps;
  std::optional<Arena::Scope> scope;
  if (desc.scores == AttentionScores::kS8) {
    p.q8 = args.s8.q;
    p.q_scale = args.s8.q_scale;
    p.k8 = args.s8.k;
    p.k_scale = args.s8.k_scale;
    scope.emplace(*context.scratch);
    INTAGLIO_ASSIGN(p.workspace, context.scratch->take<std::byte>(
                                     static_cast<int64_t>(qk_norm_rope_workspace_bytes(p))));
  }
  if (const char* reason = cuda::qk_norm_rope_refusal(p))
    return make_error(ErrorCode::kUnsupported, "norm and rope of {} tokens, {} heads x {}: {}",
                      desc.tokens, desc.heads, desc.head_dim, reason);
  return device_status(cuda::qk_norm_rope(p, stream_of(context)), "norm and rope of the heads");
}

}  // namespace intaglio::cuda::op
