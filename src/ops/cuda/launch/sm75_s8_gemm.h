// Launcher of kernels/sm75_s8_gemm.cuh: sm_75 and up. Allocates nothing, waits for nothing, may be
// captured into a graph.
#pragma once

#include <span>

#include "ops/cuda/launch/s8_gemm_config.h"

namespace intaglio::cuda {

std::span<const S8GemmConfig> sm75_s8_gemm_configs();

const char* sm75_s8_gemm_refusal(const S8GemmParams& p);

// Any alignment of rows; those at multiples of 16 bytes are fast. No workspace.
cudaError_t sm75_s8_gemm(const S8GemmParams& p, cudaStream_t stream);

}  // namespace intaglio::cuda
