// What linears of several kinds do beside their products.
#pragma once

#include "core/aligned_buffer.h"
#include "core/context.h"
#include "core/status.h"
#include "core/tensor.h"

namespace intaglio::cuda::op {

// A tensor of host memory as it lies in the file, in device memory.
Expected<AlignedBuffer> stage(const Context& context, const TensorView& tensor);

// out [rows, n / 2] = silu(gate) * up of a product [rows, n] whose halves they are; F32 or BF16 each.
struct SwigluPass {
  const void* product = nullptr;
  DType product_dtype = DType::kBF16;
  void* out = nullptr;
  DType out_dtype = DType::kBF16;
  int64_t rows = 0, n = 0;
};
Status run_swiglu(const Context& context, const SwigluPass& pass);

}  // namespace intaglio::cuda::op
