// The activation buffers of a transformer block, taken from the arena once per forward pass and
// shared by all layers.
#pragma once

#include "core/context.h"
#include "core/profile.h"
#include "ops/linear.h"

namespace intaglio {

// Lifetimes inside a block allow four buffers: `wide` holds q|k|v, then the feed-forward's hidden
// rows; `narrow` a linear's output on its way to the residual, or attended rows on their way to a
// linear; `input` whatever the next linear reads (normed or quantized rows).
struct BlockBuffers {
  int64_t tokens = 0;
  DType dtype = DType::kF32;   // of wide and narrow
  float* h = nullptr;          // [tokens, width], the residual stream
  void* input = nullptr;       // [tokens, max input columns]
  float* scale_row = nullptr;  // [tokens], at a multiple of 16 bytes
  void* wide = nullptr;        // [tokens, wide columns]
  void* narrow = nullptr;      // [tokens, narrow columns]

  // What `weights` reads behind a norm, in `input`.
  Activation input_for(const LinearWeights& weights) const {
    Activation x = weights.input_at(input, tokens, scale_row);
    if (!weights.needs_float_rows()) return x;
    x.floats = wide;
    x.floats_dtype = dtype;
    return x;
  }
  // Where a norm before `weights` writes: there, or where rows of floats are needed, to `wide`, for
  // `quantize_normed`. `wide` is free at every norm.
  Activation norm_output(const LinearWeights& weights) const {
    if (!weights.needs_float_rows()) return input_for(weights);
    return {dtype, wide, tokens, weights.k, nullptr};
  }
};

struct BlockSizes {
  int64_t tokens = 0, width = 0;
  int64_t input_cols = 0;  // widest input of a linear
  int64_t wide_cols = 0;
  DType dtype = DType::kF32;
  int64_t narrow_cols = 0;  // 0: width
};

size_t block_buffer_bytes(const BlockSizes& sizes);
Expected<BlockBuffers> take_block_buffers(Arena& arena, const BlockSizes& sizes);
// Of rows [first, first + count) of the sequence, which have linears of their own: each buffer's
// part of that of all rows, which was taken with `sizes`. Its scales begin at the next multiple of
// 16 bytes: they are not those of the same rows in `all`.
BlockBuffers rows_of(const BlockBuffers& all, const BlockSizes& sizes, int64_t first,
                     int64_t count);

// Makes what `weights` reads of what a norm left in `b.norm_output(weights)`.
Status quantize_normed(const Context& context, const LinearWeights& weights, const BlockBuffers& b,
                       Profile* profile = nullptr);

// `x` ([rows, weights.k] dense of `dtype`) in the type `weights` reads: as it lies, converted, or
// quantized, into `storage` ([rows, k] of the type, `scale_row` [rows]).
Expected<Activation> as_linear_input(const Context& context, const LinearWeights& weights,
                                     const void* x, DType dtype, int64_t rows, void* storage,
                                     float* scale_row, Profile* profile = nullptr,
                                     const char* detail = "");

}  // namespace intaglio
