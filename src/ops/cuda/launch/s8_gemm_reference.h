// Operands of int8 products on a GPU, and their judge: what the tuner, `bench linear` and the
// programs of bench/cuda hold kernels against. It has the sums on the card because they check every
// output at full size, 5e11 multiplications a product, which takes loops on the host minutes; what
// becomes of a sum is said by ops/ref/s8_gemm.h alone, and the judge is tested against the products
// of ops/ref.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "ops/cuda/s8_gemm_params.h"
#include "ops/cuda/s8_gemm_verdict.h"

namespace intaglio::cuda {

// Counter-based: the same seed gives the same numbers. int8 over its full range, -128 included;
// floats uniform in [low, high).
cudaError_t fill_s8(int8_t* to, int64_t count, uint32_t seed, cudaStream_t stream);
cudaError_t fill_f32(float* to, int64_t count, uint32_t seed, float low, float high,
                     cudaStream_t stream);

// Adds to verdict->wrong, in memory of the device, the outputs in p.out (written by a kernel under
// test) that are not those of ops/ref/s8_gemm.h, as its s8_agrees says. p.out has m rows of stride
// ldo.
cudaError_t judge_s8_gemm(const S8GemmParams& p, S8GemmVerdict* verdict, cudaStream_t stream);

}  // namespace intaglio::cuda
