// ops/pixel_norm.h on a GPU.
#pragma once

#include "ops/pixel_norm.h"

namespace intaglio::cuda::op {

Refusal pixel_norm_refusal(const PixelNorm& op, const Context& context);
Status pixel_norm(const Context& context, const PixelNorm& op);

}  // namespace intaglio::cuda::op
