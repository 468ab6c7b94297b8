// ops/group_norm.h on a GPU.
#pragma once

#include "ops/group_norm.h"

namespace intaglio::cuda::op {

Refusal group_norm_refusal(const GroupNormDesc& desc, const Context& context);
size_t group_norm_scratch_bytes(const GroupNormDesc& desc);
Status group_norm(const Context& context, const GroupNormDesc& desc, const GroupNormArgs& args);

}  // namespace intaglio::cuda::op
