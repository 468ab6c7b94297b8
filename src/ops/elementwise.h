// Small float passes that no product fuses: conversions, activations, sums, strides, a softmax,
// tiles of a picture; and the epilogue of products that fuse none.
//
// All pointers are memory of the context's device. F32 arithmetic, each operation rounded, unless
// said; a NaN stays a NaN, an Inf what the formula makes of it. A size of 0 does nothing. Each op's
// list has "cuda_", "cpu_" and "ref_" before its name, unless said.
#pragma once

#include <cstdint>

#include "core/context.h"
#include "core/dtype.h"
#include "core/status.h"
#include "ops/epilogue.h"
#include "ops/nonlinearity.h"
#include "ops/op_list.h"

namespace intaglio {

// target[i] = source[i] between F32 and BF16 (round to nearest even), in any combination.
struct ConvertElements {
  const void* source = nullptr;  // [count] of source_dtype
  DType source_dtype = DType::kF32;
  void* target = nullptr;  // [count] of target_dtype
  DType target_dtype = DType::kF32;
  int64_t count = 0;
};
OpList<ConvertElements> convert_elements_implementations();
Status convert_elements(const Context& context, const ConvertElements& op);

// x[r, c] = f(x[r, c]) for a block of columns, in place, F32.
struct ActivateInPlace {
  float* x = nullptr;  // [rows, cols], row stride ld
  int64_t rows = 0, cols = 0, ld = 0;
  Nonlinearity function = Nonlinearity::kSilu;
};
OpList<ActivateInPlace> activate_in_place_implementations();
Status activate_in_place(const Context& context, const ActivateInPlace& op);

// out = epilogue(product), for products that have none of their own, or in some of their columns
// alone. Also "avx512_epilogue_rows" and "avx2_epilogue_rows". It is part of a product, whose line
// in the trace names the epilogue: it has none itself.
struct EpilogueRows {
  GemmEpilogue epilogue = GemmEpilogue::kSwiglu;
  // [rows, cols], gated: [rows, 2 * cols], all gates first; row stride ld
  const void* product = nullptr;
  DType product_dtype = DType::kF32;  // F32 or BF16
  void* out = nullptr;                // [rows, cols], row stride ldo
  DType out_dtype = DType::kF32;      // F32 or BF16
  int64_t rows = 0, cols = 0, ldo = 0;
  int64_t ld = 0;  // 0: dense

  int64_t product_cols() const { return cols * columns_per_output(epilogue); }
  int64_t product_stride() const { return ld == 0 ? product_cols() : ld; }
};
OpList<EpilogueRows> epilogue_rows_implementations();
Status epilogue_rows(const Context& context, const EpilogueRows& op);

// h[i] += y[i]
struct AddInPlace {
  float* h = nullptr;       // [count]
  const void* y = nullptr;  // [count], F32 or BF16
  DType y_dtype = DType::kF32;
  int64_t count = 0;
};
OpList<AddInPlace> add_in_place_implementations();
Status add_in_place(const Context& context, const AddInPlace& op);

// x[r, c] *= sigmoid(gate[r, c]), the sigmoid and the product rounded, then to dtype. Also
// "avx512_gate_rows" and "avx2_gate_rows".
struct GateRows {
  void* x = nullptr;           // [rows, cols] dense
  const void* gate = nullptr;  // [rows, cols], row stride ld
  int64_t rows = 0, cols = 0, ld = 0;
  DType dtype = DType::kF32;  // of x and gate: F32 or BF16
};
OpList<GateRows> gate_rows_implementations();
Status gate_rows(const Context& context, const GateRows& op);

// features[r * ld + c * channel_stride + offset] = h[r, c], F32: one of several hidden states that
// make a row of features. Interleaved by channel: channel_stride = number of states, offset =
// which; side by side: channel_stride = 1, offset = which * cols.
struct ScatterTap {
  const float* h = nullptr;   // [rows, cols] dense
  float* features = nullptr;  // [rows, ld]; nothing else of it is written
  int64_t rows = 0, cols = 0;
  int64_t ld = 0;  // offset + (cols - 1) * channel_stride < ld
  int64_t channel_stride = 1, offset = 0;
};
OpList<ScatterTap> scatter_tap_implementations();
Status scatter_tap(const Context& context, const ScatterTap& op);

// out[r, c] = softmax over c of scores[r, c] * scale. A row with a NaN or +Inf, or of -Inf alone,
// is not finite throughout. Also "avx512_softmax_rows" and "avx2_softmax_rows".
struct SoftmaxRows {
  float* scores = nullptr;  // [rows, cols] dense, overwritten
  void* out = nullptr;      // [rows, cols] dense, of out_dtype; may be scores if F32
  int64_t rows = 0, cols = 0;
  float scale = 1.0f;             // 0 or more
  DType out_dtype = DType::kF32;  // F32 or BF16
};
OpList<SoftmaxRows> softmax_rows_implementations();
Status softmax_rows(const Context& context, const SoftmaxRows& op);

// picture[c, first_row + y, first_column + x] += row_share[y] * column_share[x] * tile[y, x, c],
// F32, three channels.
struct PlaceTile {
  const float* tile = nullptr;              // [tile_height, tile_width, 3]
  float* picture = nullptr;                 // planes [3, height, width]
  int64_t height = 0, width = 0;            // of the picture
  int64_t tile_height = 0, tile_width = 0;  // the tile lies inside the picture
  int64_t first_row = 0, first_column = 0;
  const float* row_share = nullptr;     // [tile_height]
  const float* column_share = nullptr;  // [tile_width]
};
OpList<PlaceTile> place_tile_implementations();
Status place_tile(const Context& context, const PlaceTile& op);

}  // namespace intaglio
