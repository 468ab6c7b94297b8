// Reference of ops/conv2d.h: plain loops, float64 sums. Weights stay [out, in, kernel, kernel]
// floats.
#pragma once

#include "ops/conv2d.h"

namespace intaglio::ref {

Expected<AlignedBuffer> pack_conv2d(const Context& context, const Conv2dDesc& desc, const float* w);
Status conv2d(const Context& context, const Conv2dDesc& desc, const Conv2dWeights& weights,
              const void* x, const void* add, void* y);

}  // namespace intaglio::ref
