// A linear without its weights, for plans.
#include "ops/linear.h"
#include "ops/linear_prepare.h"

namespace intaglio {
namespace {

DType input_of(const Context& context, LinearKind kind) {
  if (kind == LinearKind::kF32) return DType::kF32;
  if (kind == LinearKind::kS8) return DType::kI8;
  if (kind == LinearKind::kF8) return DType::kF8E4M3;
  // The baseline dequantizes activations too on the CPU alone.
  return kind == LinearKind::kS8Dequant && context.gpu == nullptr ? DType::kI8 : DType::kBF16;
}

}  // namespace

void set_sizes(DeviceKind device, const LinearSizes& sizes, LinearWeights& weights) {
  weights.kind = kind_at_size(device, sizes.kind, sizes.n, sizes.k);
  weights.epilogue = sizes.epilogue;
  weights.n = sizes.n;
  weights.k = sizes.k;
  if (is_interleaved(weights))
    weights.n = 2 * static_cast<int64_t>(align_up(static_cast<size_t>(sizes.n / 2), kSwigluGroup));
}

Expected<LinearWeights> describe_linear(const Context& context, const LinearSizes& sizes) {
  if (const Refusal refusal = linear_kind_refusal(sizes.kind, context))
    return make_error(ErrorCode::kUnsupported, "describe_linear: {}", refusal);
  LinearWeights weights;
  set_sizes(device_kind(context), sizes, weights);
  weights.input = input_of(context, weights.kind);
  if (weights.kind == LinearKind::kF8) return weights;  // its product is the library's
  INTAGLIO_TRY(choose_products(context, weights));
  return weights;
}

}  // namespace intaglio
