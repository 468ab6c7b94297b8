// The bf16 float_gemm on AMX tiles, with its kernels and blocking as parameters: tests run it on
// emulated tiles.
#pragma once

#include "ops/cpu/amx_blocking.h"
#include "ops/cpu/bf16_amx_task.h"
#include "ops/float_gemm.h"

namespace intaglio {

struct Bf16AmxKernels {
  Bf16AmxKernel task = amx_bf16_task;
  Bf16AmxPack pack = amx_bf16_pack;
};

// bf16 operands, m above the rows that dot products serve.
size_t bf16_amx_scratch_bytes(const FloatGemmDesc& desc, int threads, const AmxTuning& tuning);
Status bf16_amx_run(const Context& context, const FloatGemmDesc& desc, const FloatGemmArgs& args,
                    const Bf16AmxKernels& kernels, const AmxTuning& tuning);

}  // namespace intaglio
