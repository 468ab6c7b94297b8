// The plain-data interface between quantize_rows (generic code) and its kernels. One call quantizes
// one row; see ops/quantize.h for the formula.
#pragma once

#include <cstdint>

namespace intaglio {

// x: `cols` floats (or bf16 bit patterns) -> q; returns the scale. `smooth`: `cols` divisors.
// `group`: of the rotation, of which `cols` is a multiple.
// e4m3 without its sign.
inline constexpr int kE4m3Magnitudes = 128;
// q[c] = table[x[c] % 128], negated where bit 7 of x[c] is set; no entry is -128.
void avx512_map_bytes(const uint8_t* x, const int8_t* table, int64_t cols, int8_t* q);
void avx2_map_bytes(const uint8_t* x, const int8_t* table, int64_t cols, int8_t* q);
void ref_map_bytes(const uint8_t* x, const int8_t* table, int64_t cols, int8_t* q);

float avx512_quantize_row_f32(const float* x, int64_t cols, int8_t* q);
float avx512_quantize_row_bf16(const uint16_t* x, int64_t cols, int8_t* q);
float avx512_smooth_quantize_row_f32(const float* x, const float* smooth, int64_t cols, int8_t* q);
float avx512_smooth_quantize_row_bf16(const uint16_t* x, const float* smooth, int64_t cols,
                                      int8_t* q);
float avx512_rotate_quantize_row_f32(const float* x, int64_t group, int64_t cols, int8_t* q);
float avx512_rotate_quantize_row_bf16(const uint16_t* x, int64_t group, int64_t cols, int8_t* q);

float avx2_quantize_row_f32(const float* x, int64_t cols, int8_t* q);
float avx2_quantize_row_bf16(const uint16_t* x, int64_t cols, int8_t* q);
float avx2_smooth_quantize_row_f32(const float* x, const float* smooth, int64_t cols, int8_t* q);
float avx2_smooth_quantize_row_bf16(const uint16_t* x, const float* smooth, int64_t cols,
                                    int8_t* q);
float avx2_rotate_quantize_row_f32(const float* x, int64_t group, int64_t cols, int8_t* q);
float avx2_rotate_quantize_row_bf16(const uint16_t* x, int64_t group, int64_t cols, int8_t* q);

float ref_quantize_row_f32(const float* x, int64_t cols, int8_t* q);
float ref_quantize_row_bf16(const uint16_t* x, int64_t cols, int8_t* q);
float ref_smooth_quantize_row_f32(const float* x, const float* smooth, int64_t cols, int8_t* q);
float ref_smooth_quantize_row_bf16(const uint16_t* x, const float* smooth, int64_t cols, int8_t* q);
float ref_rotate_quantize_row_f32(const float* x, int64_t group, int64_t cols, int8_t* q);
float ref_rotate_quantize_row_bf16(const uint16_t* x, int64_t group, int64_t cols, int8_t* q);

}  // namespace intaglio
