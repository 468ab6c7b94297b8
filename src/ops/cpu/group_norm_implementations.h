// The kernels behind the list of ops/group_norm.h on CPUs.
#pragma once

#include "ops/cpu/float_row_kernels.h"
#include "ops/group_norm.h"

namespace intaglio {

namespace cpu {
size_t group_norm_scratch_bytes(const GroupNormDesc& desc);
// By the kernels of one instruction set.
Status group_norm_by(const FloatRowKernels& kernels, const Context& context,
                     const GroupNormDesc& desc, const GroupNormArgs& args);
}  // namespace cpu

namespace ref {
Status group_norm(const Context& context, const GroupNormDesc& desc, const GroupNormArgs& args);
}  // namespace ref

}  // namespace intaglio
