// Launch of the kernels that write weights of a weight-only format out as bf16. No allocation, no
// synchronisation; can be captured in a graph.
#pragma once

#include <cuda_runtime_api.h>

#include "ops/cuda/dequantize_weights_params.h"

namespace intaglio::cuda {

// nullptr if the kernels take these arguments, else the reason, a string literal. w (NF4, Q8_0) and
// out lie at multiples of 16 bytes; Q8_0 needs k % 32 == 0. Reads no device memory.
const char* dequantize_weights_refusal(const DequantizeWeightsParams& params);

// cudaErrorInvalidValue for arguments that are refused; nothing is launched then.
cudaError_t dequantize_weights(const DequantizeWeightsParams& params, cudaStream_t stream);

}  // namespace intaglio::cuda
