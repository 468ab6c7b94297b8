// Per-token dynamic quantization of activations.
//
//   absmax = max_c |x[r, c]|;  scale[r] = max(absmax / 127, 1e-30);  q[r, c] = clamp(round_half_even(x[r, c] * (127 / absmax)), -127, 127)
// A zero row gives zeros with scale 1e-30, and so does a row with absmax < 1e-36 (127 / absmax would overflow). A row with a NaN or an Inf gives q = 0 and scale = NaN, so the damage stays visible downstream.
// Every implementation gives the same bits (no fused multiply-add in the formula).
// To e4m3, on GPUs: scale[r] = max(absmax / 448, 1e-30), the formula and its edges in ops/cuda/e4m3_rows_params.h.
#pragma once

#include <cstdint>
#include <span>

#include "core/context.h"
#include "core/registry.h"
#include "core/tensor.h"
#include "ops/activation.h"

namespace intaglio {

inline constexpr float kMinQuantScale = 1e-30f;

struct QuantizeRowsImplementation {
  const char*
      name;  // "cuda_quantize_rows", "avx512_quantize_rows", "avx2_quantize_rows", "ref_quantize_rows"
  Refusal (*can_run)(DType input, const Context&);
  // x: F32 or BF16 [rows, cols], row stride ldx elements -> q [rows, cols] dense, scale [rows]
  Status (*run)(const Context&, const void* x, DType x_dtype, int64_t ldx, int64_t rows,
                int64_t cols, int8_t* q, float* scale);
  DeviceKind device = DeviceKind::kCpu;
};

std::span<const QuantizeRowsImplementation> quantize_rows_implementations();

// x: F32 or BF16 [out.rows, out.cols] dense; out: kI8, or kF8E4M3 on a GPU with out.cols in multiples of 16.
Status quantize_rows(const Context& context, TensorView x, Activation out);

// On the CPU. Symmetric per-output-channel weight quantization: w [n, k] float -> q [n, k], scale [n]; same formula, row by row.
Status quantize_weight_rows(const Context& context, TensorView w, int8_t* q, float* scale);

}  // namespace intaglio
