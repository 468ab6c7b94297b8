#include "ops/cuda/elementwise.h"

#include "core/cuda/device.h"
#include "core/memory.h"
#include "ops/cuda/launch/elementwise.h"
#include "ops/cuda/stream.h"

namespace intaglio::cuda::op {

namespace {

ActivateRowsParams params(const ActivateInPlace& a) {
  return {.x = a.x, .rows = a.rows, .cols = a.cols, .ld = a.ld, .function = a.function};
}

EpilogueRowsParams params(const EpilogueRows& e) {
  return {.x = e.product,
          .out = e.out,
          .rows = e.rows,
          .cols = e.cols,
          .ldx = e.product_stride(),
          .ldo = e.ldo,
          .x_type = e.product_dtype,
          .out_type = e.out_dtype,
          .epilogue = e.epilogue};
}

GateRowsParams params(const GateRows& g) {
  return {.x = g.x, .gate = g.gate, .rows = g.rows, .cols = g.cols, .ld = g.ld, .type = g.dtype};
}

ScatterTapParams params(const ScatterTap& s) {
  return {.h = s.h,
          .features = s.features,
          .rows = s.rows,
          .cols = s.cols,
          .ld = s.ld,
          .channel_stride = s.channel_stride,
          .offset = s.offset};
}

SoftmaxRowsParams params(const SoftmaxRows& s) {
  return {.scores = s.scores,
          .out = s.out,
          .rows = s.rows,
          .cols = s.cols,
          .scale = s.scale,
          .out_type = s.out_dtype};
}

PlacePictureParams params(const PlaceTile& s) {
  return {.tile = s.tile,
          .picture = s.picture,
          .row_share = s.row_share,
          .column_share = s.column_share,
          .height = s.height,
          .width = s.width,
          .tile_height = s.tile_height,
          .tile_width = s.tile_width,
          .first_row = s.first_row,
          .first_column = s.first_column};
}

}  // namespace

Refusal convert_elements_refusal(const ConvertElements& op, const Context&) {
  if (op.source_dtype == op.target_dtype) return nullptr;
  return cuda::convert_elements_refusal(op.source, op.source_dtype, op.target, op.target_dtype,
                                        op.count);
}

Status convert_elements(const Context& context, const ConvertElements& op) {
  if (op.source_dtype == op.target_dtype) {
    return copy_inside(context, op.target, op.source,
                       static_cast<size_t>(op.count) * dtype_size(op.source_dtype));
  }
  return device_status(cuda::convert_elements(op.source, op.source_dtype, op.target,
                                              op.target_dtype, op.count, stream_of(context)),
                       "a conversion");
}

Refusal activate_in_place_refusal(const ActivateInPlace& op, const Context&) {
  return activate_rows_refusal(params(op));
}

Status activate_in_place(const Context& context, const ActivateInPlace& op) {
  return device_status(activate_rows(params(op), stream_of(context)), "an activation");
}

Refusal epilogue_rows_refusal(const EpilogueRows& op, const Context&) {
  return cuda::epilogue_rows_refusal(params(op));
}

Status epilogue_rows(const Context& context, const EpilogueRows& op) {
  return device_status(cuda::epilogue_rows(params(op), stream_of(context)), "an epilogue");
}

Refusal add_in_place_refusal(const AddInPlace& op, const Context&) {
  return cuda::add_in_place_refusal(op.h, op.y, op.y_dtype, op.count);
}

Status add_in_place(const Context& context, const AddInPlace& op) {
  return device_status(cuda::add_in_place(op.h, op.y, op.y_dtype, op.count, stream_of(context)),
                       "a sum");
}

Refusal gate_rows_refusal(const GateRows& op, const Context&) {
  return cuda::gate_rows_refusal(params(op));
}

Status gate_rows(const Context& context, const GateRows& op) {
  return device_status(cuda::gate_rows(params(op), stream_of(context)), "a gate");
}

Refusal scatter_tap_refusal(const ScatterTap& op, const Context&) {
  return cuda::scatter_tap_refusal(params(op));
}

Status scatter_tap(const Context& context, const ScatterTap& op) {
  return device_status(cuda::scatter_tap(params(op), stream_of(context)), "text features");
}

Refusal softmax_rows_refusal(const SoftmaxRows& op, const Context&) {
  return cuda::softmax_rows_refusal(params(op));
}

Status softmax_rows(const Context& context, const SoftmaxRows& op) {
  return device_status(cuda::softmax_rows(params(op), stream_of(context)), "a softmax");
}

Refusal place_tile_refusal(const PlaceTile& op, const Context&) {
  return place_picture_refusal(params(op));
}

Status place_tile(const Context& context, const PlaceTile& op) {
  return device_status(place_picture(params(op), stream_of(context)), "a tile of the picture");
}

}  // namespace intaglio::cuda::op
