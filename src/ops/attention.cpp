#include "ops/attention.h"

#include <array>

#include "ops/attention_implementations.h"
#include "ops/op_list.h"
#if defined(INTAGLIO_X86)
#include "ops/cpu/attention_driver.h"
#endif
#if defined(INTAGLIO_HAS_CUDA)
#include "ops/cuda/attention.h"
#endif

namespace intaglio {
namespace {

constexpr const char* kNoS8 = "no int8 scores";

Refusal ref_can_run(const AttentionDesc& desc, const Context&) {
  const bool is_s8 = desc.scores == AttentionScores::kS8;
  return is_s8 && desc.values == AttentionValues::kFloat ? kNoS8 : nullptr;
}

#if defined(INTAGLIO_X86)

constexpr AttentionKernel kAmxBf16Kernel{.block_rows = 32,
                                         .block_keys = 256,
                                         .key_multiple = 32,
                                         .depth_multiple = 32,
                                         .col_multiple = 32,
                                         .element_bytes = 2,
                                         .pack_k = avx512_bf16_attention_pack_k,
                                         .pack_v = avx512_bf16_attention_pack_v,
                                         .block = amx_bf16_attention_block};
constexpr AttentionKernel kAvx512Bf16Kernel{.block_rows = 48,
                                            .block_keys = 128,
                                            .key_multiple = 32,
                                            .depth_multiple = 32,
                                            .col_multiple = 16,
                                            .element_bytes = 2,
                                            .pack_k = avx512_bf16_attention_pack_k,
                                            .pack_v = avx512_bf16_attention_pack_v,
                                            .block = avx512bf16_attention_block};
constexpr AttentionKernel kAvx512F32Kernel{.block_rows = 48,
                                           .block_keys = 128,
                                           .key_multiple = 16,
                                           .depth_multiple = 1,
                                           .col_multiple = 16,
                                           .element_bytes = 4,
                                           .pack_k = avx512_f32_attention_pack_k,
                                           .pack_v = avx512_f32_attention_pack_v,
                                           .block = avx512_f32_attention_block};
constexpr AttentionKernel kAvx2F32Kernel{.block_rows = 48,
                                         .block_keys = 128,
                                         .key_multiple = 16,
                                         .depth_multiple = 1,
                                         .col_multiple = 16,
                                         .element_bytes = 4,
                                         .pack_k = avx2_f32_attention_pack_k,
                                         .pack_v = avx2_f32_attention_pack_v,
                                         .block = avx2_f32_attention_block};

template <const AttentionKernel& kKernel>
size_t kernel_scratch_bytes(const AttentionDesc& desc, int threads) {
  return attention_kernel_scratch_bytes(kKernel, desc, threads);
}

template <const AttentionKernel& kKernel>
Status run_kernel(const Context& context, const AttentionDesc& desc, const AttentionArgs& args) {
  return run_attention_kernel(kKernel, context, desc, args);
}

Refusal amx_can_run(const AttentionDesc& desc, const Context& context) {
  if (desc.scores == AttentionScores::kS8) return kNoS8;
  if (desc.dtype != DType::kBF16) return "the buffers are not BF16";
  return context.cpu.amx_bf16 ? nullptr : "no AMX-BF16";
}

Refusal avx512bf16_can_run(const AttentionDesc& desc, const Context& context) {
  if (desc.scores == AttentionScores::kS8) return kNoS8;
  if (desc.dtype != DType::kBF16) return "the buffers are not BF16";
  if (!context.cpu.avx512_bf16) return "no AVX512_BF16";
  return context.cpu.fast_bf16_dot ? nullptr : "slower here than AVX-512 in fp32";
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
  AttentionImplementation{"sm90a_s8_attention", cuda::op::sm90a_s8_refusal, cuda::op::no_scratch,
                          cuda::op::run_sm90a_s8, DeviceKind::kGpu},
      AttentionImplementation{"sm80_s8_attention", cuda::op::sm80_s8_refusal, cuda::op::no_scratch,
                              cuda::op::run_sm80_s8, DeviceKind::kGpu},
      AttentionImplementation{"sm80_s8_values_attention", cuda::op::sm80_s8_values_refusal,
                              cuda::op::sm80_s8_values_scratch_bytes, cuda::op::run_sm80_s8_values,
                              DeviceKind::kGpu},
      AttentionImplementation{"sm90a_bf16_attention", cuda::op::sm90a_bf16_refusal,
                              cuda::op::no_scratch, cuda::op::run_sm90a_bf16, DeviceKind::kGpu},
      AttentionImplementation{"sm80_bf16_attention", cuda::op::sm80_bf16_refusal,
                              cuda::op::no_scratch, cuda::op::run_sm80_bf16, DeviceKind::kGpu},
      AttentionImplementation{"plain_attention", cuda::op::plain_refusal, cuda::op::no_scratch,
                              cuda::op::run_plain, DeviceKind::kGpu},
#endif
#if defined(INTAGLIO_X86)
      AttentionImplementation{"amx_bf16_attention", amx_can_run,
                              kernel_scratch_bytes<kAmxBf16Kernel>, run_kernel<kAmxBf16Kernel>},
      AttentionImplementation{"avx512bf16_attention", avx512bf16_can_run,
                              kernel_scratch_bytes<kAvx512Bf16Kernel>,
                              run_kernel<kAvx512Bf16Kernel>},
      AttentionImplementation{"avx512_f32_attention", avx512_can_run,
                              kernel_scratch_bytes<kAvx512F32Kernel>, run_kernel<kAvx512F32Kernel>},
      AttentionImplementation{"avx2_f32_attention", avx2_can_run,
                              kernel_scratch_bytes<kAvx2F32Kernel>, run_kernel<kAvx2F32Kernel>},
#endif
      AttentionImplementation{"ref_attention", ref_can_run, ref_attention_scratch_bytes,
                              ref_attention},
};

std::string describe(const AttentionDesc& desc) {
  return fmt::format("{} tokens, {}/{} heads x {}, {}{}", desc.tokens, desc.heads, desc.kv_heads,
                     desc.head_dim, dtype_name(desc.dtype), desc.causal ? ", causal" : "") +
         (desc.scores == AttentionScores::kS8 ? ", int8 scores" : "") +
         (desc.values == AttentionValues::kS8 ? " and values" : "") +
         (desc.keys != 0 ? fmt::format(", {} keys", desc.keys) : "");
}

// No real model is near this; below it no size in bytes overflows.
constexpr int64_t kMaxExtent = int64_t{1} << 24;

}  // namespace

Status check_attention_desc(const AttentionDesc& desc) {
  if (desc.tokens < 0 || desc.tokens > kMaxExtent) {
    return make_error(ErrorCode::kInvalidArgument, "attention: {} tokens; expected 0 to {}",
                      desc.tokens, kMaxExtent);
  }
  if (desc.keys < 0 || desc.keys > kMaxExtent) {
    return make_error(ErrorCode::kInvalidArgument, "attention: {} keys; expected 0 to {}",
                      desc.keys, kMaxExtent);
  }
  const bool is_square = desc.key_tokens() == desc.tokens;
  if (!is_square && (desc.causal || desc.scores == AttentionScores::kS8)) {
    return make_error(ErrorCode::kUnsupported,
                      "attention: {} tokens over {} keys with {}; expected neither a causal mask "
                      "nor int8 scores",
                      desc.tokens, desc.keys, desc.causal ? "a causal mask" : "int8 scores");
  }
  if (desc.values == AttentionValues::kS8 && (desc.causal || desc.scores != AttentionScores::kS8)) {
    return make_error(ErrorCode::kUnsupported,
                      "attention: int8 values with {}; expected int8 scores without a causal mask",
                      desc.causal ? "a causal mask" : "float scores");
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

size_t s8_heads_bytes(const AttentionDesc& d) {
  const int64_t blocks = (d.tokens + kS8KeyBlock - 1) / kS8KeyBlock;
  return arena_bytes<int8_t>(d.heads * d.tokens * d.head_dim) +
         arena_bytes<int8_t>(d.kv_heads * d.tokens * d.head_dim) +
         arena_bytes<float>(d.heads * d.tokens) + arena_bytes<float>(d.kv_heads * blocks);
}

Expected<S8Heads> take_s8_heads(Arena& arena, const AttentionDesc& d) {
  const int64_t blocks = (d.tokens + kS8KeyBlock - 1) / kS8KeyBlock;
  S8Heads s8;
  INTAGLIO_ASSIGN(s8.q, arena.take<int8_t>(d.heads * d.tokens * d.head_dim));
  INTAGLIO_ASSIGN(s8.k, arena.take<int8_t>(d.kv_heads * d.tokens * d.head_dim));
  INTAGLIO_ASSIGN(s8.q_scale, arena.take<float>(d.heads * d.tokens));
  INTAGLIO_ASSIGN(s8.k_scale, arena.take<float>(d.kv_heads * blocks));
  return s8;
}

std::span<const AttentionImplementation> attention_implementations() { return kImplementations; }

Expected<const AttentionImplementation*> choose_attention(const AttentionDesc& desc,
                                                          const Context& context) {
  INTAGLIO_TRY(check_attention_desc(desc));
  return choose(OpName{"attention", "attention"}, attention_implementations(), desc, context,
                describe);
}

size_t attention_scratch_bytes(const Context& context, const AttentionDesc& desc) {
  if (!check_attention_desc(desc)) return 0;
  const AttentionImplementation* const taker =
      first_taker(attention_implementations(), desc, context);
  return taker == nullptr ? 0 : taker->scratch_bytes(desc, context.threads);
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
  if (output_stride(desc, args) < q_width) {
    return make_error(ErrorCode::kInvalidArgument,
                      "attention: token stride of the output {}; expected 0 (dense) or at least {}",
                      args.ldo, q_width);
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
