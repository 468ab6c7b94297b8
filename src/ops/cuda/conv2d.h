// ops/conv2d.h on a GPU: convolutions and group norm.
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

size_t group_norm_scratch_bytes(const GroupNormDesc& desc);
Status group_norm(const Context& context, const GroupNormDesc& desc, const void* x,
                  const float* weight, const float* bias, void* y);

}  // namespace intaglio::cuda::op
