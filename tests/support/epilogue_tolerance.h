// How far an epilogue in F32 may be from the same in F64.
#pragma once

#include "ops/epilogue.h"

namespace intaglio::test {

// Relative to the result, |y|, where exp, its quotient and the product of a pair make `exp_error`.
inline double epilogue_error(GemmEpilogue, double, double exp_error) { return exp_error; }

}  // namespace intaglio::test
