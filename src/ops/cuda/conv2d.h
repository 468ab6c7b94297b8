// ops/conv2d.h on a GPU.
#pragma once

#include <string>

#include "ops/conv2d.h"
#include "ops/cuda/conv2d_params.h"

namespace intaglio::cuda::op {

Expected<AlignedBuffer> pack_conv2d(const Context& context, const Conv2dDesc& desc, const float* w);

Refusal sm80_conv2d_refusal(const Conv2dDesc& desc, const Context& context);
Status run_sm80_conv2d(const Context& context, const Conv2dDesc& desc, const Conv2dWeights& weights,
                       const void* x, const void* add, void* y);
// The tile that sm80_conv2d takes on the current device, for the trace: "128x64x32, 3 stages".
std::string sm80_conv2d_tile(const Conv2dParams& p);
Refusal plain_conv2d_refusal(const Conv2dDesc& desc, const Context& context);
Status run_plain_conv2d(const Context& context, const Conv2dDesc& desc,
                        const Conv2dWeights& weights, const void* x, const void* add, void* y);

}  // namespace intaglio::cuda::op
