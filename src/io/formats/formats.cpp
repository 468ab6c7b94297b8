#include "io/formats/formats.h"

#include <array>

#include "io/formats/bitsandbytes.h"
#include "io/formats/comfy.h"
#include "io/formats/compressed_tensors.h"
#include "io/formats/fp8_weights.h"
#include "io/formats/gguf_weights.h"
#include "io/formats/quanto.h"
#include "io/formats/sdnq.h"
#include "io/formats/torchao.h"

namespace intaglio {
namespace {

constexpr std::string_view kWeight = ".weight";

Refusal refuse_nothing(const TensorSet&) { return nullptr; }

Expected<std::vector<LinearEntry>> only_floats(const TensorSet& tensors) {
  return float_linears(tensors);
}

}  // namespace

std::span<const CheckpointFormat> checkpoint_formats() {
  // Those with names of their own first: ComfyUI's takes every I8 weight, fp8 whatever is left.
  static constexpr std::array list{
      CheckpointFormat{"gguf", gguf_refusal, gguf_linears},
      CheckpointFormat{"torchao", torchao_refusal, torchao_linears, kTorchaoParts},
      CheckpointFormat{"quanto", quanto_refusal, quanto_linears, kQuantoParts},
      CheckpointFormat{"bitsandbytes", bitsandbytes_refusal, bitsandbytes_linears,
                       kBitsandbytesParts},
      CheckpointFormat{"sdnq", sdnq_refusal, sdnq_linears, kSdnqParts},
      CheckpointFormat{"compressed_tensors", compressed_tensors_refusal, compressed_tensors_linears,
                       kCompressedTensorsParts},
      CheckpointFormat{"comfy", comfy_refusal, comfy_linears, kComfyParts, kComfyMarkers},
      CheckpointFormat{"ideogram_fp8", ideogram_fp8_refusal, fp8_linears, kFp8Parts},
      CheckpointFormat{"fp8_plain", fp8_plain_refusal, fp8_linears, kFp8Parts},
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
