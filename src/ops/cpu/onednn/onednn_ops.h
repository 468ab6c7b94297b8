// oneDNN behind the op contracts. Primitives are made once a shape and thread count, and kept in a
// small cache of the process.
#pragma once

#include "ops/conv2d.h"
#include "ops/float_gemm.h"

namespace intaglio::onednn {

// Why oneDNN cannot serve this type in this context; null if it can. It detects the processor
// itself, so a lowered one is refused.
Refusal refusal(const Context& context, DType dtype);

size_t gemm_scratch_bytes(const FloatGemmDesc& desc, int threads);
Status gemm(const Context& context, const FloatGemmDesc& desc, const FloatGemmArgs& args);

// Without an upsampling only.
Expected<AlignedBuffer> pack_conv2d(const Context& context, const Conv2dDesc& desc, const float* w);
size_t conv2d_scratch_bytes(const Conv2dDesc& desc, int threads);
Status conv2d(const Context& context, const Conv2dDesc& desc, const Conv2dWeights& weights,
              const void* x, const void* add, void* y);

}  // namespace intaglio::onednn
