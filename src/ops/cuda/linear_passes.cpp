#include "ops/cuda/linear_passes.h"

#include "core/memory.h"

namespace intaglio::cuda::op {

Expected<AlignedBuffer> stage(const Context& context, const TensorView& tensor) {
  INTAGLIO_ASSIGN(AlignedBuffer raw, allocate(context, tensor.size_bytes()));
  INTAGLIO_TRY(copy_in(context, raw.data(), tensor.data, tensor.size_bytes()));
  return raw;
}

}  // namespace intaglio::cuda::op
