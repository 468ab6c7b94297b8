// What lies beside the weights of a quantized checkpoint (Checkpoint::quantization).
#pragma once

#include <string_view>

#include "io/formats/tensor_set.h"
#include "io/json_config.h"

namespace intaglio {

// Whether there is one whose "quant_method" is `method`.
bool is_quantized_by(const TensorSet& tensors, std::string_view method);
// It, for messages "<file>: quantization_config". kBadFormat if there is none.
Expected<JsonConfig> quantization_config(const TensorSet& tensors);

}  // namespace intaglio
