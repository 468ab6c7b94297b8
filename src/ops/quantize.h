// Per-token dynamic quantization of activations.
//
//   absmax = max_c |x[r, c]|;  scale[r] = max(absmax / 127, 1e-30);  q[r, c] = clamp(round_half_even(x[r, c] * (127 / absmax)), -127, 127)
// A zero row gives zeros with scale 1e-30, and so does a row with absmax < 1e-36 (127 / absmax
// would overflow). A row with a NaN or an Inf gives q = 0 and scale = NaN, so the damage stays
// visible downstream. Every implementation gives the same bits (no fused multiply-add in the
// formula).
// To e4m3, on GPUs: scale[r] = max(absmax / 448, 1e-30), the formula and its edges in
// ops/cuda/e4m3_rows_params.h.
#pragma once

#include <cstdint>
#include <span>

#include "core/context.h"
#include "core/registry.h"
#include "core/tensor.h"
#include "ops/activation.h"
#include "quant/rotation.h"
#include "quant/stored_linear.h"

namespace intaglio {

inline constexpr float kMinQuantScale = 1e-30f;

// What is done to the columns of x before: v is quantized in place of x. At most one of the two.
//   rotation: v = x H (quant/rotation.h), the bits of rotate_row; cols is a multiple of the group
//   smooth:   v[r, c] = x[r, c] / smooth[c], one rounding; where that is no finite number, the row
//             is one with a NaN or an Inf
struct ColumnTransform {
  Rotation rotation = {};
  const float* smooth = nullptr;  // [cols], memory of the device of x
};

// F8_E4M3 rows, on the CPU, are weights as files hold them: the bits that their floats would give.
struct QuantizeRowsDesc {
  DType input = DType::kF32;
  Rotation rotation = {};
  bool smooth = false;
};

struct QuantizeRowsArgs {
  const void* x = nullptr;         // [rows, cols] of the desc's type, row stride ldx elements
  const float* x_scale = nullptr;  // [rows], of F8_E4M3: what a row's numbers are multiplied by
  int64_t ldx = 0;
  int64_t rows = 0, cols = 0;
  const float* smooth = nullptr;  // [cols], where the desc says so
  int8_t* q = nullptr;            // [rows, cols] dense
  float* scale = nullptr;         // [rows]
};

struct QuantizeRowsImplementation {
  // "cuda_quantize_rows", "avx512_quantize_rows", "avx2_quantize_rows", "ref_quantize_rows"
  const char* name;
  Refusal (*can_run)(const QuantizeRowsDesc&, const Context&);
  // The rotation fits the columns.
  Status (*run)(const Context&, const QuantizeRowsDesc&, const QuantizeRowsArgs&);
  DeviceKind device = DeviceKind::kCpu;
};

std::span<const QuantizeRowsImplementation> quantize_rows_implementations();

// x: F32 or BF16 [out.rows, out.cols] dense; out: kI8, or kF8E4M3 on a GPU with out.cols in
// multiples of 16, which takes no transform.
Status quantize_rows(const Context& context, TensorView x, Activation out,
                     const ColumnTransform& columns = {});

// On the CPU. Symmetric per-output-channel weight quantization: w [n, k] as floats
// (quant/stored_linear.h: dequantize_row) -> q [n, k], scale [n]; same formula, row by row.
Status quantize_weight_rows(const Context& context, const StoredLinear& w, int8_t* q, float* scale);

}  // namespace intaglio
