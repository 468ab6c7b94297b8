#include "ops/cpu/float_row_driver.h"

#include "ops/cpu/float_row_loops.h"

namespace intaglio::cpu {

const FloatRowKernels kGenericFloatRows = kLoops;

const FloatRowKernels& select_float_row_kernels([[maybe_unused]] const Context& context) {
#if defined(INTAGLIO_X86)
  if (context.cpu.isa >= CpuIsa::kAvx512Vnni) return kAvx512FloatRows;
  if (context.cpu.isa >= CpuIsa::kAvx2) return kAvx2FloatRows;
#endif
  return kGenericFloatRows;
}

}  // namespace intaglio::cpu
