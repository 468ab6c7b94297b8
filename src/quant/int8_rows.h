// Rows of a weight as the int8 rows that checkpoints hold, bit for bit as comfy-kitchen 0.2.31
// (August 2026) writes them for ComfyUI. Its arithmetic is that of the weight's own type T, each
// step in float and rounded to T:
//
//   v = w H rounded to T, where the columns are turned (quant/rotation.h)
//   scale = max(max |v| / 127, 1e-30), stored as F32
//   q = clamp(round_half_even(v / T(scale)), -128, 127), the quotient rounded to T before; a scale
//       that T has no number for is T's smallest normal one
//
// A row of zeros has q = 0 and scale 1e-30; one whose sums overflow T has scale Inf, and q = 0
// where the quotient is no number. Not ops/quantize.h's formula, which multiplies by
// 127 / absmax and is what activations are quantized with: at most one unit of q apart in F32, more
// in bf16, whose quotients have 8 bits.
#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "quant/rotation.h"

namespace intaglio {

// The largest group of 4^n columns, up to `most`, that divides rows of `cols`; no rotation where
// none does.
Rotation largest_rotation(int64_t cols, int64_t most);

// `w`: `cols` finite elements of `dtype`, F32, F16 or BF16, may be unaligned. `work`: cols floats.
// The rotation fits the columns. The reference of ops/stored_rows.h, which is what to call.
void quantize_stored_row(const void* w, DType dtype, int64_t cols, const Rotation& rotation,
                         float* work, int8_t* q, float* scale);

}  // namespace intaglio
