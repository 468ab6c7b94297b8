#include <array>

#include "ops/attention_implementations.h"

namespace intaglio {
namespace {

Refusal ref_can_run(const AttentionDesc&, const Context&) { return nullptr; }

constexpr std::array kImplementations{
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

Status qk_norm_rope(const Context& context, const AttentionDesc& desc, const QkNormRopeArgs& args) {
  INTAGLIO_TRY(check_attention_desc(desc));
  if (desc.head_dim % 2 != 0) {
    return make_error(ErrorCode::kInvalidArgument,
                      "qk_norm_rope: head_dim {} is odd; halves are rotated together",
                      desc.head_dim);
  }
  if (args.ld < desc.heads * desc.head_dim) {
    return make_error(ErrorCode::kInvalidArgument,
                      "qk_norm_rope: token stride {}; expected at least {}", args.ld,
                      desc.heads * desc.head_dim);
  }
  if (desc.tokens == 0) return {};
  if (args.q == nullptr || args.k == nullptr || args.q_weight == nullptr ||
      args.k_weight == nullptr || args.rope.cos == nullptr || args.rope.sin == nullptr) {
    return make_error(ErrorCode::kInvalidArgument,
                      "qk_norm_rope: q, k, their weights and the rope must not be null");
  }
  INTAGLIO_ASSIGN(const QkNormRopeImplementation* chosen,
                  choose("qk_norm_rope", qk_norm_rope_implementations(), desc, context, describe));
  chosen->run(context, desc, args);
  return {};
}

}  // namespace intaglio
