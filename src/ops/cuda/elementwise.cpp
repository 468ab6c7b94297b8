#include "ops/cuda/elementwise.h"

#include "core/cuda/device.h"
#include "core/memory.h"
#include "ops/cuda/device_types.h"
#include "ops/cuda/launch/elementwise.h"

namespace intaglio::cuda::op {

static_assert(intaglio::kConditionalNotFinite == cuda::kConditionalNotFinite &&
              intaglio::kUnconditionalNotFinite == cuda::kUnconditionalNotFinite &&
              intaglio::kLatentsNotFinite == cuda::kLatentsNotFinite);

Status convert_elements(const Context& context, const void* source, DType source_dtype,
                        void* target, DType target_dtype, int64_t count) {
  if (source_dtype == target_dtype) {
    return copy_inside(context, target, source,
                       static_cast<size_t>(count) * dtype_size(source_dtype));
  }
  return device_status(cuda::convert_elements(source, row_type(source_dtype), target,
                                              row_type(target_dtype), count, stream_of(context)),
                       "a conversion");
}

Status silu_in_place(const Context& context, float* x, int64_t count) {
  return device_status(cuda::silu_in_place(x, count, stream_of(context)), "SiLU");
}

Status tanh_gates(const Context& context, float* modulation, int64_t rows, int64_t width) {
  return device_status(
      tanh_rows({.x = modulation + width, .rows = 2 * rows, .cols = width, .ld = 2 * width},
                stream_of(context)),
      "AdaLN gates");
}

Status add_in_place(const Context& context, float* h, const void* y, DType y_dtype, int64_t count) {
  return device_status(cuda::add_in_place(h, y, row_type(y_dtype), count, stream_of(context)),
                       "a sum");
}

Status scatter_tap(const Context& context, const float* h, const ScatterTap& s, float* features) {
  return device_status(cuda::scatter_tap({.h = h,
                                          .features = features,
                                          .rows = s.rows,
                                          .cols = s.cols,
                                          .taps = static_cast<int32_t>(s.taps),
                                          .tap = static_cast<int32_t>(s.tap)},
                                         stream_of(context)),
                       "text features");
}

Status euler_step(const Context& context, const EulerStep& step, float* x, int64_t count) {
  const Arena::Scope scope(*context.scratch);
  INTAGLIO_ASSIGN(float* const numbers, context.scratch->take<float>(2));
  const float values[2] = {step.guidance, step.delta};
  INTAGLIO_TRY(copy_in(context, numbers, values, sizeof(values)));
  return device_status(cuda::euler_step({.x = x,
                                         .conditional = step.conditional,
                                         .unconditional = step.unconditional,
                                         .guidance = numbers,
                                         .delta = numbers + 1,
                                         .count = count,
                                         .not_finite = step.not_finite},
                                        stream_of(context)),
                       "a sampling step");
}

Status softmax_rows(const Context& context, const SoftmaxRows& s, float* scores, void* out) {
  return device_status(cuda::softmax_rows({.scores = scores,
                                           .out = out,
                                           .rows = s.rows,
                                           .cols = s.cols,
                                           .scale = s.scale,
                                           .out_type = row_type(s.out_dtype)},
                                          stream_of(context)),
                       "a softmax");
}

Status place_tile(const Context& context, const PlaceTile& s, const float* tile, float* picture) {
  return device_status(place_picture({.tile = tile,
                                      .picture = picture,
                                      .row_share = s.row_share,
                                      .column_share = s.column_share,
                                      .height = s.height,
                                      .width = s.width,
                                      .tile_height = s.tile_height,
                                      .tile_width = s.tile_width,
                                      .first_row = s.first_row,
                                      .first_column = s.first_column},
                                     stream_of(context)),
                       "a tile of the picture");
}

}  // namespace intaglio::cuda::op
