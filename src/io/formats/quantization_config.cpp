#include "io/formats/quantization_config.h"

namespace intaglio {

Expected<JsonConfig> quantization_config(const TensorSet& tensors) {
  if (tensors.quantization().empty()) {
    return make_error(ErrorCode::kBadFormat,
                      "{}: these weights need the config.json or quantization_config.json that "
                      "was written with them, which says what their numbers mean; it is not beside "
                      "them",
                      tensors.path());
  }
  return JsonConfig::parse(tensors.quantization(), tensors.path() + ": quantization_config");
}

bool is_quantized_by(const TensorSet& tensors, std::string_view method) {
  if (tensors.quantization().empty()) return false;
  const auto config = quantization_config(tensors);
  if (!config) return false;
  const auto found = config->string_or("quant_method", "");
  return found && *found == method;
}

}  // namespace intaglio
