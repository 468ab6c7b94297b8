#include "ops/attention.h"

#include <array>

#include "ops/attention_implementations.h"
#if defined(INTAGLIO_X86)
#include "ops/cpu/attention_driver.h"
#endif

namespace intaglio {
namespace {

Refusal ref_can_run(const AttentionDesc&, const Context&) { return nullptr; }

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
  if (desc.dtype != DType::kBF16) return "the buffers are not BF16";
  return context.cpu.amx_bf16 ? nullptr : "no AMX-BF16";
}

Refusal avx512bf16_can_run(const AttentionDesc& desc, const Context& context) {
  if (desc.dtype != DType::kBF16) return "the buffers are not BF16";
  return context.cpu.avx512_bf16 ? nullptr : "no AVX512_BF16";
}

Refusal avx512_can_run(const AttentionDesc&, const Context& context) {
  return context.cpu.isa >= CpuIsa::kAvx512Vnni ? nullptr : "no AVX-512";
}

Refusal avx2_can_run(const AttentionDesc&, const Context& context) {
  return context.cpu.isa >= CpuIsa::kAvx2 ? nullptr : "no AVX2";
}

#endif

constexpr std::array kImplementations {
#if defined(INTAGLIO_X86)
  AttentionImplementation{"amx_bf16_attention", amx_can_run, kernel_scratch_bytes<kAmxBf16Kernel>,
                          run_kernel<kAmxBf16Kernel>},
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
