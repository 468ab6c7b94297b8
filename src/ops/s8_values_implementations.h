// The kernels behind the list of ops/s8_values.h on CPUs.
#pragma once

#include "ops/s8_values.h"

namespace intaglio::ref {

Status quantize_values(const Context& context, const QuantizeValues& op);

}  // namespace intaglio::ref
