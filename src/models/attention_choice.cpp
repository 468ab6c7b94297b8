#include "models/attention_choice.h"

namespace intaglio {

Status AttentionChoice::check_device(const Context& context) const {
  if (scores != AttentionScores::kS8) return {};
  const char* const what = values == AttentionValues::kS8 ? "int8 values" : "int8 scores";
  if (context.gpu == nullptr)
    return make_error(
        ErrorCode::kUnsupported,
        "attention with {} needs a GPU of compute capability 8.0 or newer; the device "
        "is the CPU",
        what);
  if (context.gpu->compute_capability >= 80) return {};
  return make_error(
      ErrorCode::kUnsupported,
      "attention with {} needs compute capability 8.0 or newer; the device is {} of {}.{}", what,
      context.gpu->name, context.gpu->compute_capability / 10,
      context.gpu->compute_capability % 10);
}

}  // namespace intaglio
