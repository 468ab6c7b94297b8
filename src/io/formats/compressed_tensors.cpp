#include "io/formats/compressed_tensors.h"

#include <nlohmann/json.hpp>

#include "io/formats/affine_rows.h"
#include "io/formats/quantization_config.h"
#include "io/printable.h"

namespace intaglio {
namespace {

std::vector<Layer> int8_layers(const TensorSet& tensors) {
  return layers_with(tensors, "weight",
                     [](const TensorEntry& entry) { return has_type(entry, DType::kI8); });
}

// kUnsupported unless the weights are plain int8 numbers.
Status check_config(const JsonConfig& config) {
  INTAGLIO_ASSIGN(const std::string format, config.string_or("format", "int-quantized"));
  if (format != "int-quantized") {
    return make_error(ErrorCode::kUnsupported,
                      "{}format: found \"{}\", supported is \"int-quantized\"", config.where(),
                      printable(format));
  }
  INTAGLIO_ASSIGN(const JsonConfig groups, config.object("config_groups"));
  for (const auto& [name, value] : groups.json().items()) {
    INTAGLIO_ASSIGN(const JsonConfig group, groups.object(name));
    INTAGLIO_ASSIGN(const JsonConfig weights, group.object("weights"));
    INTAGLIO_TRY(weights.integer("num_bits", 8, 8));
    INTAGLIO_ASSIGN(const std::string type, weights.string_or("type", "int"));
    if (type == "int") continue;
    return make_error(ErrorCode::kUnsupported, "{}type: found \"{}\", supported is \"int\"",
                      weights.where(), printable(type));
  }
  return {};
}

Expected<LinearEntry> compressed_linear(const Layer& layer) {
  INTAGLIO_ASSIGN(const TensorEntry* const weight, layer.get("weight"));
  INTAGLIO_TRY(layer.check_matrix(*weight));
  // Columns in another order (weight_g_idx) among them.
  INTAGLIO_TRY(layer.refuse_other_parts(kCompressedTensorsParts, "an int8 weight"));
  const int64_t n = weight->view.shape[0], k = weight->view.shape[1];
  INTAGLIO_ASSIGN(const TensorEntry* const scales, layer.get("weight_scale"));
  const Shape& shape = scales->view.shape;
  const bool is_tensor = shape.count() == 1 && shape.rank <= 1;
  const bool is_grouped = shape.rank == 2 && shape[0] == n && shape[1] > 0 && k % shape[1] == 0;
  if (!is_weight_float(*scales) || (!is_tensor && !is_grouped)) {
    return make_error(ErrorCode::kBadFormat,
                      "{}: found {}, expected floats [1], [{}, 1] or [{}, k / group] with k = {}",
                      layer.where("weight_scale"), type_and_shape(*scales), n, n, k);
  }
  INTAGLIO_ASSIGN(const TensorEntry* const zeros,
                  layer.find("weight_zero_point", {DType::kI8}, {shape}));
  INTAGLIO_ASSIGN(const bool symmetric, are_zero(zeros));
  LinearEntry linear = int8_rows_linear(layer, *weight, *scales);
  if (symmetric && (is_tensor || shape[1] == 1)) return linear;
  linear.encoding = Encoding::kFloat;
  linear.scales = nullptr;
  linear.decoder = make_affine_rows({.values = weight,
                                     .n = n,
                                     .k = k,
                                     .scales = scales,
                                     .rows = is_tensor ? 1 : n,
                                     .groups = is_tensor ? 1 : shape[1],
                                     .zeros = zeros});
  return linear;
}

}  // namespace

Refusal compressed_tensors_refusal(const TensorSet& tensors) {
  if (!is_quantized_by(tensors, "compressed-tensors"))
    return "no quantization_config of compressed-tensors beside it";
  return int8_layers(tensors).empty() ? "no I8 weight" : nullptr;
}

Expected<std::vector<LinearEntry>> compressed_tensors_linears(const TensorSet& tensors) {
  INTAGLIO_ASSIGN(const JsonConfig config, quantization_config(tensors));
  INTAGLIO_TRY(check_config(config));
  return linears_of(tensors, int8_layers(tensors), compressed_linear);
}

}  // namespace intaglio
