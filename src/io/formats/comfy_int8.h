// ComfyUI's INT8 checkpoints (ComfyUI 0.33 and comfy-kitchen 0.2.31 of August 2026, comfy-quants of
// June 2026, INT8-Fast of April 2026).
//
//   P.weight        I8 [n, k]
//   P.weight_scale  F32 [] or [1]: of the tensor; [n, 1] or [n]: of the rows. Or "P.scale_weight"
//   P.comfy_quant   U8, UTF-8 JSON: the descriptor
//   P.bias          floats
//   P.input_scale, P.scale_input   ignored
//   __metadata__._quantization_metadata   {"layers": {P: descriptor or the format's name}}
//
//   {"format": "int8_tensorwise", "convrot": true, "convrot_groupsize": 256, "per_row": true,
//    "full_precision_matrix_mult": true, "params": {}}
//
// "format" may be "int8", or absent beside "convrot" or "per_row". The keys of ConvRot may stand in
// "params". A missing group size is 256, a missing "convrot" false. "per_row" says nothing: the
// scale's shape decides. A layer without a descriptor is plain int8 if its weight is I8, else of
// floats. What is not known here is refused: other keys with a value, other tensors of a quantized
// linear, a descriptor without its layer, and one that the header contradicts. No rotation is ever
// assumed.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "io/formats/formats.h"

namespace intaglio {

// What a descriptor says of its layer.
struct ComfyInt8 {
  Rotation rotation;
  bool float_product = false;  // full_precision_matrix_mult

  bool operator==(const ComfyInt8&) const = default;
};

// `where`: file and tensor, for messages.
Expected<ComfyInt8> parse_comfy_int8(std::string_view json, const std::string& where);

inline constexpr std::string_view kComfyInt8Parts[] = {"weight_scale", "scale_weight",
                                                       "comfy_quant", "input_scale", "scale_input"};

Refusal comfy_int8_refusal(const TensorSet& tensors);
Expected<std::vector<LinearEntry>> comfy_int8_linears(const TensorSet& tensors);

}  // namespace intaglio
