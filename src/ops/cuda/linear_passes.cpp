#include "ops/cuda/linear_passes.h"

#include "core/cuda/device.h"
#include "core/memory.h"
#include "ops/cuda/device_types.h"
#include "ops/cuda/launch/elementwise.h"

namespace intaglio::cuda::op {

Expected<AlignedBuffer> stage(const Context& context, const TensorView& tensor) {
  INTAGLIO_ASSIGN(AlignedBuffer raw, allocate(context, tensor.size_bytes()));
  INTAGLIO_TRY(copy_in(context, raw.data(), tensor.data, tensor.size_bytes()));
  return raw;
}

Status run_swiglu(const Context& context, const SwigluPass& pass) {
  return device_status(swiglu_rows({.x = pass.product,
                                    .out = pass.out,
                                    .rows = pass.rows,
                                    .cols = pass.n / 2,
                                    .x_type = row_type(pass.product_dtype),
                                    .out_type = row_type(pass.out_dtype)},
                                   stream_of(context)),
                       "SwiGLU");
}

}  // namespace intaglio::cuda::op
