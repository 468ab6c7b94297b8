// One unit of work of the AMX int8 GEMM.
#pragma once

#include "ops/cpu/amx_task.h"
#include "ops/cpu/s8_gemm_kernels.h"

namespace intaglio {

static_assert(kAmxPanelCols == kS8PanelCols);

using S8AmxTask = AmxTask<S8Epilogue>;

// amx/: needs a processor with AMX-INT8 and permission to use it.
void amx_s8_task(const S8AmxTask& task);

}  // namespace intaglio
