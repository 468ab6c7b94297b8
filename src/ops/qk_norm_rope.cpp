#include <array>

#include "core/parallel_tasks.h"
#include "ops/attention_implementations.h"
#if defined(INTAGLIO_X86)
#include "ops/cpu/norm_kernels.h"
#endif
#if defined(INTAGLIO_HAS_CUDA)
#include "ops/cuda/attention.h"
#endif

namespace intaglio {
namespace {

constexpr const char* kNoS8 = "no int8 heads";

Refusal ref_can_run(const AttentionDesc& desc, const Context&) {
  return desc.scores == AttentionScores::kS8 ? kNoS8 : nullptr;
}

#if defined(INTAGLIO_X86)

constexpr int64_t kTokensAtOnce = 4;

template <void (*kHeads)(const HeadsNormRopeArgs&)>
Status norm_rope_by_tokens(const Context& context, const AttentionDesc& desc,
                           const QkNormRopeArgs& args) {
  const bool turns = args.rope.cos != nullptr;
  INTAGLIO_TRY(
      parallel_tasks(context, desc.tokens, kTokensAtOnce, [&](int64_t begin, int64_t end, int) {
        for (int64_t token = begin; token < end; ++token) {
          const size_t offset = static_cast<size_t>(token * args.ld) * dtype_size(desc.dtype);
          HeadsNormRopeArgs h;
          h.bf16 = desc.dtype == DType::kBF16;
          h.head_dim = desc.head_dim;
          h.cosine = turns ? args.rope.cos + token * (desc.head_dim / 2) : nullptr;
          h.sine = turns ? args.rope.sin + token * (desc.head_dim / 2) : nullptr;
          h.adjacent = args.pairing == RopePairing::kAdjacent;
          h.eps = args.eps;
          h.x = static_cast<std::byte*>(args.q) + offset;
          h.heads = desc.heads;
          h.weight = args.q_weight;
          kHeads(h);
          h.x = static_cast<std::byte*>(args.k) + offset;
          h.heads = desc.kv_heads;
          h.weight = args.k_weight;
          kHeads(h);
        }
      }));
  return {};
}

Refusal avx512_can_run(const AttentionDesc& desc, const Context& context) {
  if (desc.scores == AttentionScores::kS8) return kNoS8;
  return context.cpu.isa >= CpuIsa::kAvx512Vnni ? nullptr : "no AVX-512";
}

Refusal avx2_can_run(const AttentionDesc& desc, const Context& context) {
  if (desc.scores == AttentionScores::kS8) return kNoS8;
  return context.cpu.isa >= CpuIsa::kAvx2 ? nullptr : "no AVX2";
}

#endif

constexpr std::array kImplementations {
#if defined(INTAGLIO_HAS_CUDA)
  QkNormRopeImplementation{"cuda_qk_norm_rope", cuda::op::qk_norm_rope_refusal,
                           cuda::op::qk_norm_rope, DeviceKind::kGpu},
#endif
#if defined(INTAGLIO_X86)
      QkNormRopeImplementation{"avx512_qk_norm_rope", avx512_can_run,
                               norm_rope_by_tokens<avx512_heads_norm_rope>},
      QkNormRopeImplementation{"avx2_qk_norm_rope", avx2_can_run,
                               norm_rope_by_tokens<avx2_heads_norm_rope>},
#endif
      QkNormRopeImplementation{"ref_qk_norm_rope", ref_can_run, ref_qk_norm_rope},
};

std::string describe(const AttentionDesc& desc) {
  return fmt::format("{} tokens, {}/{} heads x {}, {}", desc.tokens, desc.heads, desc.kv_heads,
                     desc.head_dim, dtype_name(desc.dtype));
}

}  // namespace

std::span<const QkNormRopeImplementation> qk_norm_rope_implementations() {
  return kImplementations;
}

size_t qk_norm_rope_scratch_bytes([[maybe_unused]] const Context& context,
                                  [[maybe_unused]] const AttentionDesc& desc) {
#if defined(INTAGLIO_HAS_CUDA)
  if (context.gpu != nullptr) return cuda::op::qk_norm_rope_scratch_bytes(desc);
#endif
  return 0;
}

Status qk_norm_rope(const Context& context, const AttentionDesc& desc, const QkNormRopeArgs& args) {
  INTAGLIO_TRY(check_attention_desc(desc));
  if (desc.head_dim % 2 != 0) {
    return make_error(ErrorCode::kInvalidArgument,
                      "qk_norm_rope: head_dim {} is odd; channels are rotated in pairs",
                      desc.head_dim);
  }
  const bool s8 = desc.scores == AttentionScores::kS8;
  const bool keys_alone = s8 && args.q == nullptr;
  const int64_t width = (keys_alone ? desc.kv_heads : desc.heads) * desc.head_dim;
  if (args.ld < width) {
    return make_error(ErrorCode::kInvalidArgument,
                      "qk_norm_rope: token stride {}; expected at least {}", args.ld, width);
  }
  if (desc.tokens == 0) return {};
  if ((args.q == nullptr && !keys_alone) || args.k == nullptr || (s8 && args.s8.q == nullptr)) {
    return make_error(ErrorCode::kInvalidArgument,
                      "qk_norm_rope: q, k and, where asked for, the int8 heads must not be null");
  }
  if ((args.rope.cos == nullptr) != (args.rope.sin == nullptr)) {
    return make_error(ErrorCode::kInvalidArgument,
                      "qk_norm_rope: the rope has no {}; give cos and sin, or neither",
                      args.rope.cos == nullptr ? "cos" : "sin");
  }
  INTAGLIO_ASSIGN(const QkNormRopeImplementation* chosen,
                  choose(OpName{"qk_norm_rope", "norm and rope of the heads"},
                         qk_norm_rope_implementations(), desc, context, describe));
  return chosen->run(context, desc, args);
}

}  // namespace intaglio
