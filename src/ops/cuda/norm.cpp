#include "ops/cuda/norm.h"

#include "core/cuda/device.h"
#include "ops/cuda/launch/norm_rows.h"
#include "ops/cuda/stream.h"

namespace intaglio::cuda::op {
namespace {

RowNorm row_norm(const NormDesc& desc, const NormArgs& args) {
  return {.kind = desc.kind == NormKind::kRms ? RowNormKind::kRms : RowNormKind::kLayer,
          .out_type = desc.out_dtype,
          .eps = desc.eps,
          .weight = args.weight,
          .modulation = args.modulation,
          .shift = args.shift,
          .out = args.out.data,
          .scale = args.out.scale_row,
          .group = static_cast<int32_t>(desc.rotation.group)};
}

Status refused(const char* op, const NormDesc& desc, const char* reason) {
  return make_error(ErrorCode::kUnsupported, "{} [{}, {}]: {}", op, desc.rows, desc.cols, reason);
}

}  // namespace

Refusal norm_refusal(const NormDesc& desc, const Context& context) {
  if (desc.rotation.kind != RotationKind::kNone &&
      !norm_turns(DeviceKind::kGpu, desc.rotation, desc.cols))
    return "turns rows of up to 6144 columns in groups of up to 256";
  return refuse_device(DeviceKind::kGpu, context);
}

Status norm(const Context& context, const NormDesc& desc, const NormArgs& args) {
  const NormRowsParams p{
      .x = args.x, .rows = desc.rows, .cols = desc.cols, .norm = row_norm(desc, args)};
  if (const char* reason = norm_rows_refusal(p)) return refused("a norm of", desc, reason);
  return device_status(norm_rows(p, stream_of(context)), "a norm");
}

Status gated_residual(const Context& context, const NormDesc& desc, const GatedResidualArgs& args,
                      const NormArgs* next, const NormDesc* next_desc) {
  ResidualRowsParams p{.update = RowUpdate::kGated,
                       .y_type = args.y_dtype,
                       .h = args.h,
                       .y = args.y,
                       .weight = args.weight,
                       .gate = args.gate,
                       .eps = desc.eps,
                       .rows = desc.rows,
                       .cols = desc.cols,
                       .next = {},
                       .normed = desc.kind == NormKind::kRms};
  if (next != nullptr) p.next = row_norm(*next_desc, *next);
  if (const char* reason = residual_rows_refusal(p))
    return refused("a gated residual of", desc, reason);
  return device_status(residual_rows(p, stream_of(context)), "a gated residual");
}

}  // namespace intaglio::cuda::op
