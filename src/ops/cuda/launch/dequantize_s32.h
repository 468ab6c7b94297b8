// Launch of the pass that turns int32 sums into scaled bf16 with bias, for products without an
// epilogue of their own.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "ops/cuda/s8_gemm_params.h"

namespace intaglio::cuda {

// Reads a_scale_row, w_scale_col, bias, out, m and n of `p`. sums [m, n] and out are dense (ldo ==
// n). nullptr, or why the pass cannot run: bf16 without epilogue, with bias, n % 4 == 0, everything
// at multiples of 16 bytes.
const char* dequantize_s32_refusal(const S8GemmParams& p, const int32_t* sums);
cudaError_t dequantize_s32(const S8GemmParams& p, const int32_t* sums, cudaStream_t stream);

}  // namespace intaglio::cuda
