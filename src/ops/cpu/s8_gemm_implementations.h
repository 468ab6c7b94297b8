// Shared by the int8 GEMM implementations only: their declarations, the argument checks and the
// scalar epilogue.
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
// kInvalidArgument if sizes, pointers or strides cannot be served.
Status check_s8_gemm(const S8GemmDesc& desc, const S8GemmArgs& args);

S8Epilogue make_s8_epilogue(const S8GemmDesc& desc, const S8GemmArgs& args);

// y = acc * (a_scale * w_scale) + bias, each step rounded to float.
inline float s8_dequantize(const S8Epilogue& e, int32_t acc, int64_t row, int64_t col) {
  const float scaled = static_cast<float>(acc) * (e.a_scale_row[row] * e.w_scale_col[col]);
  return e.bias == nullptr ? scaled : scaled + e.bias[col];
}

// Output row `row`, columns [col0, min(col0 + 32, n)) from acc[32]; col0 is a multiple of 32.
void s8_epilogue_row_scalar(const S8Epilogue& epilogue, const int32_t* acc, int64_t row,
                            int64_t col0);

}  // namespace intaglio
