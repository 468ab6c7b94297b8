#include "models/parts/block_buffers.h"

#include "ops/elementwise.h"
#include "ops/quantize.h"

namespace intaglio {
namespace {

int64_t narrow_of(const BlockSizes& s) { return s.narrow_cols == 0 ? s.width : s.narrow_cols; }

// Scales begin at multiples of 16 bytes, wherever a part's rows do: cuBLASLt refuses others.
constexpr int64_t kScaleAlignment = 16 / sizeof(float);

int64_t scales_of(const BlockSizes& s) { return s.tokens + kScaleAlignment - 1; }

}  // namespace

size_t block_buffer_bytes(const BlockSizes& s) {
  const auto element = static_cast<int64_t>(dtype_size(s.dtype));
  return arena_bytes<float>(s.tokens * s.width) +
         arena_bytes<std::byte>(s.tokens * s.input_cols * element) +
         arena_bytes<float>(scales_of(s)) +
         arena_bytes<std::byte>(s.tokens * s.wide_cols * element) +
         arena_bytes<std::byte>(s.tokens * narrow_of(s) * element);
}

Expected<BlockBuffers> take_block_buffers(Arena& arena, const BlockSizes& s) {
  const auto element = static_cast<int64_t>(dtype_size(s.dtype));
  BlockBuffers b;
  b.tokens = s.tokens;
  b.dtype = s.dtype;
  INTAGLIO_ASSIGN(b.h, arena.take<float>(s.tokens * s.width));
  INTAGLIO_ASSIGN(b.input, arena.take<std::byte>(s.tokens * s.input_cols * element));
  INTAGLIO_ASSIGN(b.scale_row, arena.take<float>(scales_of(s)));
  INTAGLIO_ASSIGN(b.wide, arena.take<std::byte>(s.tokens * s.wide_cols * element));
  INTAGLIO_ASSIGN(b.narrow, arena.take<std::byte>(s.tokens * narrow_of(s) * element));
  return b;
}

BlockBuffers rows_of(const BlockBuffers& all, const BlockSizes& s, int64_t first, int64_t count) {
  const auto from = [&](void* base, int64_t cols) {
    return static_cast<std::byte*>(base) + static_cast<size_t>(first * cols) * dtype_size(s.dtype);
  };
  BlockBuffers b = all;
  b.tokens = count;
  b.h += first * s.width;
  b.input = from(all.input, s.input_cols);
  b.scale_row += (first + kScaleAlignment - 1) / kScaleAlignment * kScaleAlignment;
  b.wide = from(all.wide, s.wide_cols);
  b.narrow = from(all.narrow, narrow_of(s));
  return b;
}

Status quantize_normed(const Context& context, const LinearWeights& weights, const BlockBuffers& b,
                       Profile* profile) {
  if (!weights.needs_float_rows()) return {};
  const ProfileScope scope(context, profile, ProfilePart::kQuantize, "normed");
  const TensorView rows{b.wide, b.dtype, Shape{b.tokens, weights.k}};
  return quantize_rows(context, rows, b.input_for(weights), weights.columns());
}

Expected<Activation> as_linear_input(const Context& context, const LinearWeights& weights,
                                     const void* x, DType dtype, int64_t rows, void* storage,
                                     float* scale_row, Profile* profile, const char* detail) {
  Activation activation = weights.input_at(storage, rows, scale_row);
  if (activation.dtype == dtype) {
    activation.data = const_cast<void*>(x);  // read only: linears never write their input
    return activation;
  }
  activation.floats = x;
  activation.floats_dtype = dtype;
  const ProfileScope scope(context, profile, ProfilePart::kQuantize, detail);
  if (has_row_scales(activation.dtype)) {
    INTAGLIO_TRY(quantize_rows(context, TensorView{x, dtype, Shape{rows, weights.k}}, activation,
                               weights.columns()));
  } else {
    INTAGLIO_TRY(
        convert_elements(context, {x, dtype, storage, activation.dtype, rows * weights.k}));
  }
  return activation;
}

}  // namespace intaglio
