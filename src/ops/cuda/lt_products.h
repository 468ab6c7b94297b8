// Products of cuBLASLt that live as long as the process: what the library says of a shape is asked
// once, and nothing is allocated while a graph is recorded.
#pragma once

#include "core/context.h"
#include "ops/cuda/library/cublaslt.h"
#include "ops/cuda/workspace.h"

namespace intaglio::cuda::op {

// What run_lt_product takes from context.scratch.
constexpr size_t lt_product_scratch_bytes() {
  return workspace_scratch_bytes(LtProduct::kWorkspaceBytes);
}

// kUnsupported with the library's word if it has no such product. The scales are only looked at for
// their alignment.
Status prepare_lt_product(const Context& context, LtKind kind, const LtShape& shape,
                          const LtScales& scales);

// m >= 1. Prepares the product if it is new.
Status run_lt_product(const Context& context, LtKind kind, const LtShape& shape,
                      const LtCall& call);

}  // namespace intaglio::cuda::op
