// Row passes for AVX2: see float_row_loops.h.
#include "ops/cpu/float_row_loops.h"

namespace intaglio::cpu {

const FloatRowKernels kAvx2FloatRows = kLoops;

}  // namespace intaglio::cpu
