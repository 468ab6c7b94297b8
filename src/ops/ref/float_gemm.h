// Reference of ops/float_gemm.h: plain loops, float64 sums.
#pragma once

#include "ops/float_gemm.h"

namespace intaglio::ref {

Status float_gemm(const Context& context, const FloatGemmDesc& desc, const FloatGemmArgs& args);

}  // namespace intaglio::ref
