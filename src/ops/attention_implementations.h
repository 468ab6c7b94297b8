// The implementations behind the registries of ops/attention.h.
#pragma once

#include "ops/attention.h"

namespace intaglio {

size_t ref_attention_scratch_bytes(const AttentionDesc& desc, int threads);
Status ref_attention(const Context& context, const AttentionDesc& desc, const AttentionArgs& args);

Status ref_qk_norm_rope(const Context& context, const AttentionDesc& desc,
                        const QkNormRopeArgs& args);

// The threads an op really uses: at least one.
inline int usable_threads(int threads) { return threads > 1 ? threads : 1; }

// Of the output's tokens, in elements.
inline int64_t output_stride(const AttentionDesc& desc, const AttentionArgs& args) {
  return args.ldo == 0 ? desc.heads * desc.head_dim : args.ldo;
}

// Shapes, types and strides that every implementation relies on.
Status check_attention_desc(const AttentionDesc& desc);

}  // namespace intaglio
