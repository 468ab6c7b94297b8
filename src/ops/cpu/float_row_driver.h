#pragma once

#include "core/context.h"
#include "ops/cpu/float_row_kernels.h"

namespace intaglio::cpu {

// The row passes for this machine.
const FloatRowKernels& select_float_row_kernels(const Context& context);

}  // namespace intaglio::cpu
