// ops/norm.h on a GPU.
#pragma once

#include "ops/norm.h"

namespace intaglio::cuda::op {

Refusal norm_refusal(const NormDesc& desc, const Context& context);
Status norm(const Context& context, const NormDesc& desc, const NormArgs& args);
Status gated_residual(const Context& context, const NormDesc& desc, const GatedResidualArgs& args,
                      const NormArgs* next, const NormDesc* next_desc);

}  // namespace intaglio::cuda::op
