#include "io/formats/formats.h"

#include <array>

#include "io/formats/comfy_int8.h"

namespace intaglio {
namespace {

constexpr std::string_view kWeight = ".weight";

Refusal refuse_nothing(const TensorSet&) { return nullptr; }

Expected<std::vector<LinearEntry>> only_floats(const TensorSet& tensors) {
  return float_linears(tensors);
}

}  // namespace

std::span<const CheckpointFormat> checkpoint_formats() {
  static constexpr std::array list{
      CheckpointFormat{"comfy_int8", comfy_int8_refusal, comfy_int8_linears, kComfyInt8Parts},
      CheckpointFormat{"float", refuse_nothing, only_floats}};
  return list;
}

std::vector<std::string_view> linear_parts() {
  std::vector<std::string_view> parts;
  for (const CheckpointFormat& format : checkpoint_formats())
    parts.insert(parts.end(), format.parts.begin(), format.parts.end());
  return parts;
}

std::vector<std::string_view> checkpoint_markers() {
  std::vector<std::string_view> markers;
  for (const CheckpointFormat& format : checkpoint_formats())
    markers.insert(markers.end(), format.markers.begin(), format.markers.end());
  return markers;
}

std::vector<LinearEntry> float_linears(const TensorSet& tensors) {
  std::vector<LinearEntry> linears;
  for (const auto& [name, entry] : tensors.tensors()) {
    const Shape& shape = entry->view.shape;
    if (!name.ends_with(kWeight) || !is_weight_float(*entry) || shape.rank != 2 ||
        shape.count() == 0)
      continue;
    linears.push_back({.name = name.substr(0, name.size() - kWeight.size()),
                       .n = shape[0],
                       .k = shape[1],
                       .values = entry});
  }
  return linears;
}

}  // namespace intaglio
