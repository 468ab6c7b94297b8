// What the CUDA row norms and residuals take: plain numbers and device pointers. Host and device.
//
// norm:      rms    n[r, c] = x[r, c] / sqrt(mean_c(x^2) + eps)
//            layer  n[r, c] = (x[r, c] - mean) / sqrt(mean_c((x - mean)^2) + eps)
//            out[r, c] = n[r, c] * weight[c] * (1 + modulation[c]) + shift[c]
// residual:  add    h[r, c] += y[r, c]
//            gated  h[r, c] += y[r, c] / sqrt(mean_c(y^2) + eps) * weight[c] * gate[c]; not normed: y[r, c] * weight[c] * gate[c]
//            and, if wanted, the norm of the updated row in the same pass over memory.
//
// Arithmetic is float32, in this order, each step rounded: t = ((x - mean) * weight) * (1 +
// modulation), out = t * inverse. A row's largest |out| is then the largest |t| times the same
// inverse, so that one reduction gives both the norm and the scale of int8. With a shift out =
// fma(t, inverse, shift), and quantized rows take a reduction more. Sums are added in a fixed
// order: the same bits on each run. A turned row is H t * inverse, or H out with a shift.
//
// int8: q and scale as ops/quantize.h says, of the float values above: zero, tiny, NaN and Inf rows
// included. e4m3: likewise, as ops/cuda/e4m3_rows_params.h says. A row whose sum of squares is not
// finite (a NaN, an Inf, or values whose squares exceed float) comes out as NaN throughout, int8
// and e4m3 as zeros with scale NaN; so does an h that gets such a y. Zero rows stay zero if eps >
// 0; with eps = 0 they are 0 / 0 = NaN.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace intaglio::cuda {

enum class RowNormKind : int32_t { kRms, kLayer };

inline constexpr int64_t kMostTurnedColumns = 6144;
inline constexpr int64_t kMostTurnedGroup = 256;

struct RowNorm {
  RowNormKind kind = RowNormKind::kRms;
  DType out_type = DType::kF32;
  float eps = 0.0f;                   // >= 0
  const float* weight = nullptr;      // [cols] or nullptr (= 1)
  const float* modulation = nullptr;  // [cols] or nullptr (= 0)
  const float* shift = nullptr;       // [cols] or nullptr (= 0)
  void* out = nullptr;                // [rows, cols] dense, of out_type
  float* scale = nullptr;             // [rows], kI8 and kE4M3 only
  // 0, or 16, 64 or 256, kI8 only: the row is turned in groups of so many columns
  // (quant/rotation.h), which divide cols, before it is quantized. Vectors of at most
  // kMostTurnedColumns only.
  int32_t group = 0;
};

// Rows are dense everywhere. Fast where cols % 4 == 0 and every pointer is at a multiple of 16
// bytes; anything else that is aligned to its type is right, and slow.
struct NormRowsParams {
  const float* x = nullptr;  // [rows, cols]; out may be x if it is f32
  int64_t rows = 0;          // 0 to 2^31 - 1
  int64_t cols = 0;          // 1 to 2^30
  RowNorm norm;
};

enum class RowUpdate : int32_t { kNone, kAdd, kGated };  // kNone: inside norm_rows only

struct ResidualRowsParams {
  RowUpdate update = RowUpdate::kGated;
  DType y_type = DType::kBF16;    // kBF16 or kF32
  float* h = nullptr;             // [rows, cols], in place
  const void* y = nullptr;        // [rows, cols]
  const float* weight = nullptr;  // kGated: [cols] or nullptr (= 1)
  const float* gate = nullptr;    // kGated: [cols] or nullptr (= 1)
  float eps = 0.0f;               // kGated: >= 0
  int64_t rows = 0, cols = 0;     // as above
  RowNorm next;                   // next.out == nullptr: no norm follows
  bool normed = true;             // kGated: y is
};

}  // namespace intaglio::cuda
