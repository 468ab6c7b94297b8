// Launcher of the plain float product (ops/cuda/plain_gemm_params.h). It allocates nothing, waits
// for nothing, may be captured into a graph.
#pragma once

#include <cuda_runtime_api.h>

#include "ops/cuda/plain_gemm_params.h"

namespace intaglio::cuda {

// nullptr, or what is wrong with the parameters: every size of a float product runs on every
// device.
const char* plain_gemm_refusal(const PlainGemmParams& params);
// cudaErrorInvalidValue where plain_gemm_refusal has a reason.
cudaError_t plain_gemm(const PlainGemmParams& params, cudaStream_t stream);

}  // namespace intaglio::cuda
