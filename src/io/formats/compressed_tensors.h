// compressed-tensors' checkpoints (August 2026) of int8 weights, described by the
// "quantization_config" of config.json: {"quant_method": "compressed-tensors", "format":
// "int-quantized", "config_groups": {name: {"weights": {"num_bits": 8, "type": "int", ...}}}}
//   P.weight             I8 [n, k]
//   P.weight_scale       floats [n, 1], [n, k / group] or [1]
//   P.weight_zero_point  I8 like the scales, or none
//   P.input_scale, P.input_zero_point, P.output_scale   of its own product: ignored
//   W = (q - zero) scale
#pragma once

#include "io/formats/formats.h"

namespace intaglio {

inline constexpr std::string_view kCompressedTensorsParts[] = {
    "weight_scale", "weight_zero_point", "input_scale", "input_zero_point", "output_scale"};

Refusal compressed_tensors_refusal(const TensorSet& tensors);
Expected<std::vector<LinearEntry>> compressed_tensors_linears(const TensorSet& tensors);

}  // namespace intaglio
