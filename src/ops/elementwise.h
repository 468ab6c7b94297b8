// Small float passes that no product fuses: conversion, SiLU, addition.
// All pointers are memory of the context's device.
#pragma once

#include <cstdint>

#include "core/context.h"
#include "core/dtype.h"
#include "core/status.h"

namespace intaglio {

// target[i] = source[i] between F32 and BF16 (round to nearest even), in any combination.
Status convert_elements(const Context& context, const void* source, DType source_dtype,
                        void* target, DType target_dtype, int64_t count);

// x[i] = x[i] / (1 + exp(-x[i])), F32 in place.
Status silu_in_place(const Context& context, float* x, int64_t count);

// tanh of parts 1 and 3 of modulation [rows, 4, width], F32 in place: the gates of AdaLN.
Status tanh_gates(const Context& context, float* modulation, int64_t rows, int64_t width);

// h[i] += y[i]; h F32, y F32 or BF16.
Status add_in_place(const Context& context, float* h, const void* y, DType y_dtype, int64_t count);

// features[t, c * taps + tap] = h[t, c]; h [rows, cols], F32.
struct ScatterTap {
  int64_t rows = 0, cols = 0, taps = 0, tap = 0;
};
Status scatter_tap(const Context& context, const float* h, const ScatterTap& shape,
                   float* features);

// out[r, c] = softmax over c of scores[r, c] * scale; scores F32 are overwritten; out F32 or BF16, which may be scores itself if F32.
struct SoftmaxRows {
  int64_t rows = 0, cols = 0;
  float scale = 1.0f;
  DType out_dtype = DType::kF32;
};
Status softmax_rows(const Context& context, const SoftmaxRows& shape, float* scores, void* out);

// picture[c, first_row + y, first_column + x] += row_share[y] * column_share[x] * tile[y, x, c], three channels, F32.
struct PlaceTile {
  int64_t height = 0, width = 0;  // of the picture, planes [3, height, width]
  int64_t tile_height = 0, tile_width = 0;
  int64_t first_row = 0, first_column = 0;  // the tile lies inside the picture
  const float* row_share = nullptr;         // [tile_height]
  const float* column_share = nullptr;      // [tile_width]
};
Status place_tile(const Context& context, const PlaceTile& shape, const float* tile,
                  float* picture);

}  // namespace intaglio
