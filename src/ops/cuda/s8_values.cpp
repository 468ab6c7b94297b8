#include "ops/cuda/s8_values.h"

#include "core/cuda/device.h"
#include "ops/cuda/launch/s8_values.h"
#include "ops/cuda/stream.h"

namespace intaglio::cuda::op {
namespace {

S8ValuesParams params(const QuantizeValues& op) {
  return {.v = op.v,
          .ldv = op.ldv,
          .values = op.out.values,
          .scale = op.out.scale,
          .mean = op.out.mean,
          .tokens = static_cast<int32_t>(op.tokens),
          .kv_heads = static_cast<int32_t>(op.kv_heads),
          .head_dim = static_cast<int32_t>(op.head_dim),
          .type = op.dtype};
}

}  // namespace

Refusal quantize_values_refusal(const QuantizeValues& op, const Context& context) {
  if (const Refusal refusal = refuse_device(DeviceKind::kGpu, context)) return refusal;
  return s8_values_refusal(params(op));
}

size_t quantize_values_scratch_bytes(const QuantizeValues& op) {
  return align_up(s8_values_workspace_bytes(params(op)), kCacheLine);
}

Status quantize_values(const Context& context, const QuantizeValues& op) {
  S8ValuesParams p = params(op);
  Arena::Scope scope(*context.scratch);
  INTAGLIO_ASSIGN(p.workspace, context.scratch->take<float>(static_cast<int64_t>(
                                   s8_values_workspace_bytes(p) / sizeof(float))));
  return device_status(s8_values(p, stream_of(context)), "int8 values of attention");
}

}  // namespace intaglio::cuda::op
