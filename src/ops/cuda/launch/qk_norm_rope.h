// Launch of the norm and rotation of q and k: check, choose, launch. No allocation, no
// synchronisation; can be captured in a graph.
#pragma once

#include <cuda_runtime_api.h>

#include "ops/cuda/qk_norm_rope_params.h"

namespace intaglio::cuda {

// nullptr if the kernels take these arguments, else the reason, a string literal. Reads no device
// memory.
const char* qk_norm_rope_refusal(const QkNormRopeParams& params);
// Of the int8 form; 0 in place.
size_t qk_norm_rope_workspace_bytes(const QkNormRopeParams& params);
// cudaErrorInvalidValue for arguments that are refused; nothing is launched then. tokens = 0
// launches nothing and succeeds.
cudaError_t qk_norm_rope(const QkNormRopeParams& params, cudaStream_t stream);

}  // namespace intaglio::cuda
