// Shared by the int8 GEMM implementations only: their declarations and the argument checks.
#pragma once

#include "ops/cpu/s8_gemm_kernels.h"
#include "ops/s8_gemm.h"

namespace intaglio {

extern const S8GemmImplementation kRefS8Gemm;
#if defined(INTAGLIO_X86)
extern const S8GemmImplementation kAvx2S8Gemm;
extern const S8GemmImplementation kAvx512VnniS8Gemm;
extern const S8GemmImplementation kAmxS8Gemm;
#endif

// nullptr if the desc is valid, else why not.
Refusal refuse_s8_gemm_desc(const S8GemmDesc& desc);
// kInvalidArgument if sizes, pointers or strides cannot be served, kUnsupported for a side branch
// that the implementation does not take.
Status check_s8_gemm(const S8GemmDesc& desc, const S8GemmArgs& args, bool takes_side = false);

S8Epilogue make_s8_epilogue(const S8GemmDesc& desc, const S8GemmArgs& args);

}  // namespace intaglio
