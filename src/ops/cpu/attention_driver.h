// Runs an AttentionKernel over heads and query blocks on a team of threads.
#pragma once

#include "ops/attention.h"
#include "ops/cpu/attention_kernels.h"

namespace intaglio {

// Exactly what run_attention_kernel takes from context.scratch at `threads` threads.
size_t attention_kernel_scratch_bytes(const AttentionKernel& kernel, const AttentionDesc& desc,
                                      int threads);
Status run_attention_kernel(const AttentionKernel& kernel, const Context& context,
                            const AttentionDesc& desc, const AttentionArgs& args);

}  // namespace intaglio
