// References of quantization fused with what comes before it: each forms a row of floats, which ref_quantize_row_f32 then quantizes.
// Rotation and SmoothQuant division are in quant/rotation.h.
#pragma once

#include <cstdint>

namespace intaglio {

// y[c] = ((x[c] * inverse) * weight[c]) * (1 + modulation[c]), every step rounded to float; inverse = 1 / sqrt(mean(x^2) + eps), formed in float64 and
// rounded once. weight nullptr = 1, modulation nullptr = 0. (The norm op itself rounds once an element; the two differ by at most 3 roundings.)
void ref_rms_norm_row(const float* x, const float* weight, const float* modulation, float eps,
                      int64_t cols, float* y);

// y[c] = gate / (1 + exp(-gate)) * up. halves: gate = x[c], up = x[cols + c]; interleaved: gate = x[32 (c / 16) + c % 16], up 16 further (ops/s8_gemm.h).
void ref_swiglu_row(const float* x, bool interleaved, int64_t cols, float* y);

// The row's largest |x| is known: no search. Values above it are clamped to +-127. Returns the scale.
float ref_quantize_row_known(const float* x, float absmax, int64_t cols, int8_t* q);

}  // namespace intaglio
