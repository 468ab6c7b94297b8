// The plain-data interface between quantize_stored_rows (generic code) and its kernels. One call
// quantizes one row; see quant/int8_rows.h for the formula.
#pragma once

#include <cstdint>

namespace intaglio {

// w: `cols` elements of the type in the name, may be unaligned -> q; returns the scale. `group`: of
// the rotation, of which `cols` is a multiple; 0: none. `work`: kStoredRowPadding floats more than
// `cols`, aligned to 64 bytes. `finite`: whether all numbers are, once they are turned.
inline constexpr int64_t kStoredRowPadding = 16;

float avx512_quantize_stored_row_f32(const void* w, int64_t group, int64_t cols, float* work,
                                     int8_t* q, bool* finite);
float avx512_quantize_stored_row_f16(const void* w, int64_t group, int64_t cols, float* work,
                                     int8_t* q, bool* finite);
float avx512_quantize_stored_row_bf16(const void* w, int64_t group, int64_t cols, float* work,
                                      int8_t* q, bool* finite);

float avx2_quantize_stored_row_f32(const void* w, int64_t group, int64_t cols, float* work,
                                   int8_t* q, bool* finite);
float avx2_quantize_stored_row_f16(const void* w, int64_t group, int64_t cols, float* work,
                                   int8_t* q, bool* finite);
float avx2_quantize_stored_row_bf16(const void* w, int64_t group, int64_t cols, float* work,
                                    int8_t* q, bool* finite);

}  // namespace intaglio
