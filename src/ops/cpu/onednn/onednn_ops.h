// oneDNN behind the op contracts. Primitives are made once a shape and thread count, and kept in a small cache of the process.
#pragma once

#include "ops/conv2d.h"
#include "ops/float_gemm.h"

namespace intaglio::onednn {

// Why oneDNN cannot serve this type in this context; null if it can. It detects the processor itself, so a lowered one is refused.
Refusal refusal(const Context& context, DType dtype);

size_t gemm_scratch_bytes(const FloatGemmDesc& desc, int threads);
Status gemm(const Context& context, const FloatGemmDesc& desc, const FloatGemmArgs& args);

}  // namespace intaglio::onednn
