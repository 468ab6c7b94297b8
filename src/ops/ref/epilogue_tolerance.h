// How far an epilogue in F32 may be from the same in F64. Host and device.
#pragma once

#include <cmath>

#include "ops/epilogue.h"

namespace intaglio::ref {

// Relative to the result y, beside `exp_error`, that of exp, of its quotient and of the product of
// a pair. The argument of GELU's exp has seven roundings of its own, half a unit each, which exp
// makes a relative error as large as the argument: below 7.2 where y is over 1e-3, below 90 where
// anything is left of y.
INTAGLIO_HOST_DEVICE double epilogue_error(GemmEpilogue epilogue, double y, double exp_error) {
  if (epilogue != GemmEpilogue::kGeluTanh) return exp_error;
  return exp_error + 7.0 * (std::fabs(y) > 1e-3 ? 7.2 : 90.0) * 0x1p-24;
}

}  // namespace intaglio::ref
