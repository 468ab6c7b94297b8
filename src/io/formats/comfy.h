// ComfyUI's quantized checkpoints (ComfyUI 0.33 and comfy-kitchen 0.2.31 of August 2026,
// comfy-quants of June 2026, INT8-Fast of April 2026): each quantized layer P has a descriptor,
// which says the form of that layer alone. Files that mix forms are usual.
//
//   P.weight       the numbers, as the form has them (comfy_forms.h)
//   P.comfy_quant  U8, UTF-8 JSON: the descriptor
//   P.bias         floats
//   P.input_scale, P.scale_input                    ignored
//   __metadata__._quantization_metadata             {"layers": {P: descriptor or the format's name}}
//
//   {"format": "int8_tensorwise", "convrot": true, "convrot_groupsize": 256, "per_row": true,
//    "full_precision_matrix_mult": true, "params": {}}
//
// "format" may be "int8", or absent beside "convrot" or "per_row": int8 then. The keys of ConvRot
// may stand in "params". A missing group size is 256 where the form has one, a missing "convrot"
// false. "per_row" says nothing: the scale's shape decides. A layer without a descriptor is plain
// int8 if its weight is I8, fp8 if that is F8_E4M3 or F8_E5M2, else of floats. Before descriptors,
// a tensor "scaled_fp8" marked a file of fp8 layers; of two elements it asks for float products.
//
// What is not known here is refused: other keys with a value, other tensors of a quantized linear,
// a descriptor without its layer, and one that the header contradicts. No rotation is ever assumed.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "io/formats/formats.h"

namespace intaglio {

struct ComfyForm;

// What a descriptor says of its layer.
struct ComfyDescriptor {
  const ComfyForm* form = nullptr;
  Rotation rotation;
  int64_t group_size = 0;      // of the form's scales; 0: not said
  bool float_product = false;  // full_precision_matrix_mult

  bool operator==(const ComfyDescriptor&) const = default;
};

// `where`: file and tensor, for messages.
Expected<ComfyDescriptor> parse_comfy_descriptor(std::string_view json, const std::string& where);

inline constexpr std::string_view kComfyParts[] = {
    "comfy_quant",     "weight_scale",    "scale_weight", "input_scale",
    "scale_input",     "weight_scale_2",  "weight_s_rel", "weight_s_channel",
    "weight_codebook", "pre_quant_scale", "weight_zeros", "weight_zero"};
inline constexpr std::string_view kComfyMarkers[] = {"scaled_fp8"};

Refusal comfy_refusal(const TensorSet& tensors);
Expected<std::vector<LinearEntry>> comfy_linears(const TensorSet& tensors);

}  // namespace intaglio
