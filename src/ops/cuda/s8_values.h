// ops/s8_values.h on a GPU.
#pragma once

#include "ops/s8_values.h"

namespace intaglio::cuda::op {

Refusal quantize_values_refusal(const QuantizeValues& op, const Context& context);
size_t quantize_values_scratch_bytes(const QuantizeValues& op);
Status quantize_values(const Context& context, const QuantizeValues& op);

}  // namespace intaglio::cuda::op
