#include "io/formats/fp8_weights.h"

#include <algorithm>

#include "io/formats/fp8_rows.h"

namespace intaglio {
namespace {

// Matrices: all else of fp8 is read as a tensor, like floats.
std::vector<Layer> fp8_layers(const TensorSet& tensors) {
  return layers_with(tensors, "weight", [](const TensorEntry& entry) {
    return is_fp8_tensor(entry) && entry.view.shape.rank == 2 && entry.view.shape.count() > 0;
  });
}

}  // namespace

Refusal ideogram_fp8_refusal(const TensorSet& tensors) {
  const std::vector<Layer> layers = fp8_layers(tensors);
  const bool scaled = std::any_of(layers.begin(), layers.end(), [](const Layer& layer) {
    return layer.find("weight_scale") != nullptr || layer.find("scale_weight") != nullptr;
  });
  return scaled ? nullptr : "no fp8 weight with a scale";
}

Refusal fp8_plain_refusal(const TensorSet& tensors) {
  return fp8_layers(tensors).empty() ? "no fp8 weight" : nullptr;
}

Expected<std::vector<LinearEntry>> fp8_linears(const TensorSet& tensors) {
  return linears_of(tensors, fp8_layers(tensors),
                    [](const Layer& layer) { return fp8_linear(layer, kFp8Parts); });
}

}  // namespace intaglio
