// The AMX int8 GEMM driver, with its kernel and its blocking as parameters: tests run it on
// emulated tiles, the benchmark tries other blockings.
#pragma once

#include "ops/cpu/amx_blocking.h"
#include "ops/cpu/s8_amx_task.h"
#include "ops/s8_gemm.h"

namespace intaglio {

using S8AmxKernel = void (*)(const S8AmxTask&);

size_t s8_amx_scratch_bytes(const S8GemmDesc& desc, int threads, const AmxTuning& tuning);
Status s8_amx_run(const Context& context, const S8GemmDesc& desc, const S8GemmArgs& args,
                  S8AmxKernel kernel, const AmxTuning& tuning);

}  // namespace intaglio
