// Launch of the kernels of int8 values: check, launch. No allocation, no synchronisation; can be
// captured in a graph.
#pragma once

#include <cuda_runtime_api.h>

#include "ops/cuda/s8_values_params.h"

namespace intaglio::cuda {

// nullptr, or the reason as a string literal. It reads no device memory and not the workspace.
const char* s8_values_refusal(const S8ValuesParams& params);
size_t s8_values_workspace_bytes(const S8ValuesParams& params);
// cudaErrorInvalidValue for arguments that are refused; nothing is launched then.
cudaError_t s8_values(const S8ValuesParams& params, cudaStream_t stream);

}  // namespace intaglio::cuda
