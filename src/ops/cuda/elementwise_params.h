// What the small CUDA passes over floats take: plain numbers and device pointers. Host and device.
//
// Everything is float32 arithmetic without contraction, so that sums and products are those of the
// CPU; exp and tanh are the device's, a few units in the last place. NaN stays NaN. Any alignment
// of the elements' types is right; fast where pointers are at multiples of 16 bytes and rows are a
// multiple of 4 elements. Sizes are 64 bits; a size of 0 does nothing.
#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "ops/epilogue.h"
#include "ops/nonlinearity.h"

namespace intaglio::cuda {

// out[i] = f(a[i], b[i]), i < count; filled by the launchers.
struct FlatParams {
  void* out = nullptr;
  const void* a = nullptr;
  const void* b = nullptr;
  int64_t count = 0;
};

// x[r * ld + c] = f(x[r * ld + c])
struct ActivateRowsParams {
  float* x = nullptr;
  int64_t rows = 0, cols = 0, ld = 0;  // ld >= cols
  Nonlinearity function = Nonlinearity::kSilu;
};

// The epilogue of a product: out[r, c] = f(x[r, c]), x [rows, cols]; gated, f(x[r, c]) * x[r, cols
// + c], x [rows, 2 * cols]. out [rows, cols]; F32 or BF16 each.
struct EpilogueRowsParams {
  const void* x = nullptr;
  void* out = nullptr;
  int64_t rows = 0, cols = 0;
  int64_t ldx = 0, ldo = 0;  // row strides in elements
  DType x_type = DType::kBF16, out_type = DType::kBF16;
  GemmEpilogue epilogue = GemmEpilogue::kSwiglu;
};

// x[r, c] += bias[c], x dense, F32 or BF16: the bias of products whose library has none for the
// type.
struct AddBiasRowsParams {
  void* x = nullptr;            // [rows, cols]
  const float* bias = nullptr;  // [cols]
  int64_t rows = 0, cols = 0;
  DType type = DType::kF32;
};

// x[r, c] *= sigmoid(gate[r * ld + c]), x dense, both F32 or BF16.
struct GateRowsParams {
  void* x = nullptr;                   // [rows, cols]
  const void* gate = nullptr;          // [rows, ld]
  int64_t rows = 0, cols = 0, ld = 0;  // ld >= cols
  DType type = DType::kF32;
};

// features[r * ld + c * channel_stride + offset] = h[r, c]
struct ScatterTapParams {
  const float* h = nullptr;   // [rows, cols] dense
  float* features = nullptr;  // [rows, ld]
  int64_t rows = 0, cols = 0, ld = 0;
  int64_t channel_stride = 1, offset = 0;
};

// out[r, c] = softmax over c of scores[r, c] * scale. A row with a NaN or +Inf, or of -Inf alone,
// is NaN throughout.
struct SoftmaxRowsParams {
  const float* scores = nullptr;  // [rows, cols] dense
  void* out = nullptr;            // [rows, cols] dense, F32 or BF16; may be scores if F32
  int64_t rows = 0, cols = 0;     // cols up to 2^30; in one read up to 16384
  float scale = 1.0f;
  DType out_type = DType::kF32;
};

// picture[c, first_row + y, first_column + x] += row_share[y] * column_share[x] * tile[(y *
// tile_width + x) * 3 + c] Without shares: picture = tile, a plain turn of channels-last into
// planes.
struct PlacePictureParams {
  const float* tile = nullptr;          // [tile_height, tile_width, 3]
  float* picture = nullptr;             // [3, height, width]
  const float* row_share = nullptr;     // [tile_height], or nullptr together with column_share
  const float* column_share = nullptr;  // [tile_width]
  int64_t height = 0, width = 0;
  int64_t tile_height = 0, tile_width = 0;
  int64_t first_row = 0, first_column = 0;  // the tile lies inside the picture
};

}  // namespace intaglio::cuda
