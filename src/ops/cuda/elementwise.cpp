#include "ops/cuda/elementwise.h"

#include "core/cuda/device.h"
#include "core/memory.h"
#include "ops/cuda/device_types.h"
#include "ops/cuda/launch/elementwise.h"

namespace intaglio::cuda::op {

static_assert(intaglio::kMaxPasses == cuda::kMaxPasses &&
              intaglio::kLatentsNotFinite == cuda::kLatentsNotFinite);

namespace {

PassesParams passes_params(std::span<const WeightedVelocity> passes, int64_t count) {
  PassesParams p;
  p.passes = static_cast<int32_t>(passes.size());
  p.count = count;
  for (size_t i = 0; i < passes.size(); ++i) {
    p.velocity[i] = passes[i].velocity;
    p.weight[i] = passes[i].weight;
  }
  return p;
}

EulerStepParams params(const EulerStep& s) {
  return {.v = passes_params(s.passes, s.count),
          .x = s.x,
          .delta = s.delta,
          .factor = s.factor,
          .not_finite = s.not_finite};
}

LimitVelocityNormParams params(const LimitVelocityNorm& l) {
  return {.v = passes_params(l.passes, l.count),
          .reference = l.reference,
          .limit = l.limit,
          .factor = l.factor};
}

}  // namespace

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

Refusal euler_step_refusal(const EulerStep& step, const Context&) {
  return cuda::euler_step_refusal(params(step));
}

Status euler_step(const Context& context, const EulerStep& step) {
  return device_status(cuda::euler_step(params(step), stream_of(context)), "a sampling step");
}

Refusal limit_velocity_norm_refusal(const LimitVelocityNorm& limit, const Context&) {
  return cuda::limit_velocity_norm_refusal(params(limit));
}

Status limit_velocity_norm(const Context& context, const LimitVelocityNorm& limit) {
  return device_status(cuda::limit_velocity_norm(params(limit), stream_of(context)),
                       "a limit on the norm of a velocity");
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
