// Blocking and threads of the float matrix kernels, the same for every instruction set.
#pragma once

#include "ops/cpu/float_gemm_kernels.h"
#include "ops/float_gemm.h"

namespace intaglio::cpu {

// Up to this many rows the weights are read once, in place, by dot products; above, in packed
// panels.
inline constexpr int64_t kDotRows = 8;

size_t float_gemm_scratch_bytes(const FloatGemmKernels& kernels, const FloatGemmDesc& desc,
                                int threads);
Status run_float_gemm(const FloatGemmKernels& kernels, const Context& context,
                      const FloatGemmDesc& desc, const FloatGemmArgs& args);

// The dot product path alone; needs no scratch.
Status run_float_dot(const FloatGemmKernels& kernels, const Context& context,
                     const FloatGemmDesc& desc, const FloatGemmArgs& args);

}  // namespace intaglio::cpu
