// ops/attention.h on a GPU: one entry a kernel.
#pragma once

#include "ops/attention.h"

namespace intaglio::cuda::op {

size_t no_scratch(const AttentionDesc& desc, int threads);

Refusal sm90a_s8_refusal(const AttentionDesc& desc, const Context& context);
Status run_sm90a_s8(const Context& context, const AttentionDesc& desc, const AttentionArgs& args);
Refusal sm80_s8_refusal(const AttentionDesc& desc, const Context& context);
Status run_sm80_s8(const Context& context, const AttentionDesc& desc, const AttentionArgs& args);
// Makes v int8 in scratch first.
Refusal sm80_s8_values_refusal(const AttentionDesc& desc, const Context& context);
size_t sm80_s8_values_scratch_bytes(const AttentionDesc& desc, int threads);
Status run_sm80_s8_values(const Context& context, const AttentionDesc& desc,
                          const AttentionArgs& args);
Refusal sm90a_bf16_refusal(const AttentionDesc& desc, const Context& context);
Status run_sm90a_bf16(const Context& context, const AttentionDesc& desc, const AttentionArgs& args);
Refusal sm80_bf16_refusal(const AttentionDesc& desc, const Context& context);
Status run_sm80_bf16(const Context& context, const AttentionDesc& desc, const AttentionArgs& args);
// f32 and bf16 of any head size, on CUDA cores.
Refusal plain_refusal(const AttentionDesc& desc, const Context& context);
Status run_plain(const Context& context, const AttentionDesc& desc, const AttentionArgs& args);

Refusal qk_norm_rope_refusal(const AttentionDesc& desc, const Context& context);
size_t qk_norm_rope_scratch_bytes(const AttentionDesc& desc);
Status qk_norm_rope(const Context& context, const AttentionDesc& desc, const QkNormRopeArgs& args);

}  // namespace intaglio::cuda::op
