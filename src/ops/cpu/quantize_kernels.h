// The plain-data interface between quantize_rows (generic code) and its kernels. One call quantizes one row; see ops/quantize.h for the formula.
#pragma once

#include <cstdint>

namespace intaglio {

// x: `cols` floats (or bf16 bit patterns) -> q; returns the scale.
float avx512_quantize_row_f32(const float* x, int64_t cols, int8_t* q);
float avx512_quantize_row_bf16(const uint16_t* x, int64_t cols, int8_t* q);
float avx2_quantize_row_f32(const float* x, int64_t cols, int8_t* q);
float avx2_quantize_row_bf16(const uint16_t* x, int64_t cols, int8_t* q);
float ref_quantize_row_f32(const float* x, int64_t cols, int8_t* q);
float ref_quantize_row_bf16(const uint16_t* x, int64_t cols, int8_t* q);

}  // namespace intaglio
