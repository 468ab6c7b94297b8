// What linears of several kinds do beside their products.
#pragma once

#include "core/aligned_buffer.h"
#include "core/context.h"
#include "core/status.h"
#include "core/tensor.h"

namespace intaglio::cuda::op {

// A tensor of host memory as it lies in the file, in device memory.
Expected<AlignedBuffer> stage(const Context& context, const TensorView& tensor);

}  // namespace intaglio::cuda::op
