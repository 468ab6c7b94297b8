// The kernels behind the list of ops/pixel_norm.h on CPUs.
#pragma once

#include "ops/pixel_norm.h"

namespace intaglio {

namespace cpu {
struct FloatRowKernels;
// By the kernels of one instruction set.
Status pixel_norm_by(const FloatRowKernels& kernels, const Context& context, const PixelNorm& op);
}  // namespace cpu

namespace ref {
Status pixel_norm(const Context& context, const PixelNorm& op);
}  // namespace ref

}  // namespace intaglio
