// Launcher of kernels/narrow_gemm.cuh: sm_80 and up. It allocates nothing, waits for nothing, may
// be captured into a graph.
#pragma once

#include <cuda_runtime_api.h>

#include "ops/cuda/plain_gemm_params.h"

namespace intaglio::cuda {

// n of this product: 16, 32, 48 or 64.
constexpr bool is_narrow(int64_t n) { return n >= 16 && n <= 64 && n % 16 == 0; }

// nullptr, or why the kernel does not take them: bf16 without a bias, rows of a and w in pieces of
// 16 bytes.
const char* narrow_gemm_refusal(const PlainGemmParams& params);
// cudaErrorInvalidValue where narrow_gemm_refusal has a reason.
cudaError_t narrow_gemm(const PlainGemmParams& params, cudaStream_t stream);

}  // namespace intaglio::cuda
