// Row passes for AVX-512: see float_row_loops.h.
#include "ops/cpu/float_row_loops.h"

namespace intaglio::cpu {

const FloatRowKernels kAvx512FloatRows = kLoops;

}  // namespace intaglio::cpu
