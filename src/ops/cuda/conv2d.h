// ops/conv2d.h on a GPU.
#pragma once

#include "ops/conv2d.h"

namespace intaglio::cuda::op {

Expected<AlignedBuffer> pack_conv2d(const Context& context, const Conv2dDesc& desc, const float* w);

Refusal sm80_conv2d_refusal(const Conv2dDesc& desc, const Context& context);
Status run_sm80_conv2d(const Context& context, const Conv2dDesc& desc, const Conv2dWeights& weights,
                       const void* x, const void* add, void* y);
Refusal plain_conv2d_refusal(const Conv2dDesc& desc, const Context& context);
Status run_plain_conv2d(const Context& context, const Conv2dDesc& desc,
                        const Conv2dWeights& weights, const void* x, const void* add, void* y);

}  // namespace intaglio::cuda::op
