// Launch of the norm of pixels: check, choose, launch. No allocation, no synchronisation; can be
// captured in a graph.
#pragma once

#include <cuda_runtime_api.h>

#include "ops/cuda/pixel_norm_params.h"

namespace intaglio::cuda {

// nullptr, or the reason as a string literal. It reads no device memory.
const char* pixel_norm_refusal(const PixelNormParams& params);
// cudaErrorInvalidValue for arguments that are refused; nothing is launched then. pixels = 0
// launches nothing and succeeds.
cudaError_t pixel_norm(const PixelNormParams& params, cudaStream_t stream);

}  // namespace intaglio::cuda
