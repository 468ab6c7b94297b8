// The plain int8 product on a GPU and operands for it: what the tuner checks kernels against.
// Correct and slow.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "ops/cuda/s8_gemm_params.h"

namespace intaglio::cuda {

// Counter-based: the same seed gives the same numbers. int8 over its full range, -128 included;
// floats uniform in [low, high).
cudaError_t fill_s8(int8_t* to, int64_t count, uint32_t seed, cudaStream_t stream);
cudaError_t fill_f32(float* to, int64_t count, uint32_t seed, float low, float high,
                     cudaStream_t stream);

// Adds to *wrong the outputs of p.out (written by a kernel under test) that differ from the formula
// of s8_gemm_params.h: int32 and floats without SwiGLU bit for bit, SwiGLU by more than two steps
// of the output type. p.out has m rows of stride ldo.
cudaError_t count_wrong_s8_gemm(const S8GemmParams& p, unsigned long long* wrong,
                                cudaStream_t stream);

}  // namespace intaglio::cuda
