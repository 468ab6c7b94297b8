// Convolutions as matrix products over overlapping rows of a padded copy of a few picture rows,
// with the float_gemm kernels.
//
//   padded rows [rows + 2][width + 2][channels]: a window row of an output pixel is 3 * channels
//   values in one piece, the next pixel's starts `channels` further. So one row of outputs is one
//   product with row stride `channels`, depth 3 * channels and three segments; nothing is unfolded.
//   Through an upsampling, an output pixel's window covers 2 x 2 source pixels, in four ways by the
//   parity of its place.
#pragma once

#include "ops/conv2d.h"
#include "ops/cpu/float_gemm_kernels.h"

namespace intaglio::cpu {

Expected<AlignedBuffer> pack_conv2d(const FloatGemmKernels& kernels, const Context& context,
                                    const Conv2dDesc& desc, const float* w);
size_t conv2d_scratch_bytes(const FloatGemmKernels& kernels, const Conv2dDesc& desc, int threads);
Status run_conv2d(const FloatGemmKernels& kernels, const Context& context, const Conv2dDesc& desc,
                  const Conv2dWeights& weights, const void* x, const void* add, void* y);

}  // namespace intaglio::cpu
