// ops/float_gemm.h on a GPU: cuBLASLt, or the engine's own kernels where it is missing. All
// operands are dense.
#pragma once

#include "ops/float_gemm.h"

namespace intaglio::cuda::op {

// 16, 32, 48 or 64 columns of bf16, k % 8 == 0: as fast as the rows are read.
Refusal narrow_gemm_refusal(const FloatGemmDesc& desc, const Context& context);
Status run_narrow_gemm(const Context& context, const FloatGemmDesc& desc,
                       const FloatGemmArgs& args);

// bf16 with f32 or bf16 out, f32; a bias with f32 out only.
Refusal cublaslt_gemm_refusal(const FloatGemmDesc& desc, const Context& context);
size_t cublaslt_gemm_scratch_bytes(const FloatGemmDesc& desc, int threads);
Status run_cublaslt_gemm(const Context& context, const FloatGemmDesc& desc,
                         const FloatGemmArgs& args);

// The convolution of kernel 1 on tensor cores: bf16, k % 8 == 0.
Refusal sm80_conv2d_gemm_refusal(const FloatGemmDesc& desc, const Context& context);
Status run_sm80_conv2d_gemm(const Context& context, const FloatGemmDesc& desc,
                            const FloatGemmArgs& args);

// On CUDA cores, slow: any sizes, types and strides.
Refusal plain_gemm_refusal(const FloatGemmDesc& desc, const Context& context);
Status run_plain_gemm(const Context& context, const FloatGemmDesc& desc, const FloatGemmArgs& args);

}  // namespace intaglio::cuda::op
