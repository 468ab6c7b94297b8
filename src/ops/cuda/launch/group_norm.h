// Launch of the group norm: check, choose, launch. No allocation, no synchronisation; can be
// captured in a graph.
#pragma once

#include <cuda_runtime_api.h>

#include "ops/cuda/group_norm_params.h"

namespace intaglio::cuda {

// nullptr if the kernels take these sizes, or these sizes and pointers; else the reason, a string
// literal. They read no device memory.
const char* group_norm_sizes_refusal(const GroupNormParams& params);
const char* group_norm_refusal(const GroupNormParams& params);
size_t group_norm_workspace_bytes(const GroupNormParams& params);
// cudaErrorInvalidValue for arguments that are refused; nothing is launched then. pixels = 0
// launches nothing and succeeds.
cudaError_t group_norm(const GroupNormParams& params, cudaStream_t stream);

}  // namespace intaglio::cuda
