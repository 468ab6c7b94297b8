#include "ops/s8_values.h"

#include "ops/cuda/s8_values.h"
#include "ops/s8_values_implementations.h"

namespace intaglio {
namespace {

constexpr auto kImplementations = op_list<OpImplementation<QuantizeValues>>(
    GpuEntry<cuda::op::quantize_values_refusal, cuda::op::quantize_values>{"cuda_quantize_values"},
    {{"ref_quantize_values", takes_all, ref::quantize_values}});

int64_t groups_of(int64_t tokens) { return (tokens + kS8ValueKeys - 1) / kS8ValueKeys; }

constexpr int64_t kMaxExtent = int64_t{1} << 24;

}  // namespace

size_t quantized_values_bytes(int64_t tokens, int64_t kv_heads, int64_t head_dim) {
  return arena_bytes<int8_t>(kv_heads * groups_of(tokens) * head_dim * kS8ValueKeys) +
         2 * arena_bytes<float>(kv_heads * head_dim);
}

Expected<QuantizedValues> take_quantized_values(Arena& arena, int64_t tokens, int64_t kv_heads,
                                                int64_t head_dim) {
  QuantizedValues out;
  INTAGLIO_ASSIGN(out.values,
                  arena.take<int8_t>(kv_heads * groups_of(tokens) * head_dim * kS8ValueKeys));
  INTAGLIO_ASSIGN(out.scale, arena.take<float>(kv_heads * head_dim));
  INTAGLIO_ASSIGN(out.mean, arena.take<float>(kv_heads * head_dim));
  return out;
}

OpList<QuantizeValues> quantize_values_implementations() { return kImplementations; }

size_t quantize_values_scratch_bytes([[maybe_unused]] const Context& context,
                                     [[maybe_unused]] const QuantizeValues& op) {
#if defined(INTAGLIO_HAS_CUDA)
  if (context.gpu != nullptr) return cuda::op::quantize_values_scratch_bytes(op);
#endif
  return 0;
}

Status quantize_values(const Context& context, const QuantizeValues& op) {
  if (op.tokens < 1 || op.tokens > kMaxExtent || op.kv_heads < 1 || op.head_dim < 1 ||
      op.kv_heads > kMaxExtent || op.head_dim > kMaxExtent / op.kv_heads) {
    return make_error(ErrorCode::kInvalidArgument,
                      "quantize_values: {} tokens, {} heads x {}; expected 1 to {} tokens and as "
                      "many channels at most",
                      op.tokens, op.kv_heads, op.head_dim, kMaxExtent);
  }
  if (op.dtype != DType::kF32 && op.dtype != DType::kBF16) {
    return make_error(ErrorCode::kUnsupported, "quantize_values: type {}; expected F32 or BF16",
                      dtype_name(op.dtype));
  }
  if (op.ldv < op.kv_heads * op.head_dim) {
    return make_error(ErrorCode::kInvalidArgument,
                      "quantize_values: token stride {}; expected at least {}", op.ldv,
                      op.kv_heads * op.head_dim);
  }
  if (op.v == nullptr || op.out.values == nullptr || op.out.scale == nullptr ||
      op.out.mean == nullptr) {
    return make_error(ErrorCode::kInvalidArgument,
                      "quantize_values: v, values, scale and mean must not be null");
  }
  return run_first(OpName{"quantize_values", "int8 values of attention"},
                   quantize_values_implementations(), context, op, [](const QuantizeValues& o) {
                     return fmt::format("{} tokens, {} heads x {}, {}", o.tokens, o.kv_heads,
                                        o.head_dim, dtype_name(o.dtype));
                   });
}

}  // namespace intaglio
