#include "ops/attention.h"

#include <array>

#include "ops/attention_implementations.h"

namespace intaglio {
namespace {

Refusal ref_can_run(const AttentionDesc&, const Context&) { return nullptr; }

constexpr std::array kImplementations{
    AttentionImplementation{"ref_attention", ref_can_run, ref_attention_scratch_bytes,
                            ref_attention},
};

std::string describe(const AttentionDesc& desc) {
  return fmt::format("{} tokens, {}/{} heads x {}, {}{}", desc.tokens, desc.heads, desc.kv_heads,
                     desc.head_dim, dtype_name(desc.dtype), desc.causal ? ", causal" : "");
}

// No real model is near this; below it no size in bytes overflows.
constexpr int64_t kMaxExtent = int64_t{1} << 24;

}  // namespace

Status check_attention_desc(const AttentionDesc& desc) {
  if (desc.tokens < 0 || desc.tokens > kMaxExtent) {
    return make_error(ErrorCode::kInvalidArgument, "attention: {} tokens; expected 0 to {}",
                      desc.tokens, kMaxExtent);
  }
  if (desc.heads < 1 || desc.kv_heads < 1 || desc.heads > kMaxExtent ||
      desc.heads % desc.kv_heads != 0) {
    return make_error(ErrorCode::kInvalidArgument,
                      "attention: {} heads over {} key-value heads; expected a positive multiple",
                      desc.heads, desc.kv_heads);
  }
  if (desc.head_dim < 1 || desc.head_dim > kMaxExtent / desc.heads) {
    return make_error(ErrorCode::kInvalidArgument,
                      "attention: head_dim {} with {} heads; expected at least 1 and {} in all",
                      desc.head_dim, desc.heads, kMaxExtent);
  }
  if (desc.dtype != DType::kF32 && desc.dtype != DType::kBF16) {
    return make_error(ErrorCode::kUnsupported, "attention: type {}; expected F32 or BF16",
                      dtype_name(desc.dtype));
  }
  return {};
}

std::span<const AttentionImplementation> attention_implementations() { return kImplementations; }

Expected<const AttentionImplementation*> choose_attention(const AttentionDesc& desc,
                                                          const Context& context) {
  INTAGLIO_TRY(check_attention_desc(desc));
  return choose("attention", attention_implementations(), desc, context, describe);
}

Status attention(const Context& context, const AttentionDesc& desc, const AttentionArgs& args) {
  INTAGLIO_ASSIGN(const AttentionImplementation* chosen, choose_attention(desc, context));
  if (desc.tokens == 0) return {};
  const int64_t q_width = desc.heads * desc.head_dim;
  const int64_t kv_width = desc.kv_heads * desc.head_dim;
  if (args.ldq < q_width || args.ldk < kv_width || args.ldv < kv_width) {
    return make_error(ErrorCode::kInvalidArgument,
                      "attention: token strides q {}, k {}, v {}; expected at least {}, {}, {}",
                      args.ldq, args.ldk, args.ldv, q_width, kv_width, kv_width);
  }
  if (args.q == nullptr || args.k == nullptr || args.v == nullptr || args.out == nullptr) {
    return make_error(ErrorCode::kInvalidArgument, "attention: q, k, v and out must not be null");
  }
  if (context.scratch == nullptr) {
    return make_error(ErrorCode::kInvalidArgument, "attention: the context has no scratch memory");
  }
  return chosen->run(context, desc, args);
}

}  // namespace intaglio
