// The forms that a layer of a ComfyUI checkpoint may have, by the format its descriptor names.
//
//   int8_tensorwise  P.weight I8 [n, k], P.weight_scale (or scale_weight) F32 [] or [1]: of the
//                    tensor, [n] or [n, 1]: of the rows. W = (q s) H
//   float8_e4m3fn    P.weight F8_E4M3 [n, k], P.weight_scale F32 [] or absent: 1. W = q s
//   float8_e5m2      the same of F8_E5M2
//   convrot_w4a4     P.weight I8 [n, k/2]: signed nibbles, the low one first; P.weight_scale F32 [n].
//                    W = (q s) H
//   asym_w4a8_int8   P.weight I8 [n, k/2]: codes, the low one first; P.weight_s_rel [n, k/group],
//                    P.weight_s_channel F32 [n], P.weight_codebook F32 [16] or absent: code - 8.
//                    q = round(codebook[code] s_rel) within +-127, W = (q s_channel) H
//   awq_w4a16        P.weight I8 [n, k/2]: codes, the low one first; P.weight_scale and
//                    P.weight_zeros (or weight_zero) [k/group, n]. W = (code - 8) s + z
//   mxfp8            P.weight F8_E4M3, padded to multiples of 32 both ways; P.weight_scale E8M0 (or
//                    U8), one for 32 columns. W = q s
//   nvfp4            P.weight U8 [n, k/2]: e2m1, the high nibble first, padded to multiples of 16;
//                    P.weight_scale F8_E4M3, one for 16 columns, P.weight_scale_2 F32 []; x is
//                    multiplied by P.pre_quant_scale [k], if there is one. W = q s s2
//
// The scales of the last two are swizzled: that of row r and block b of B lies at
//   ((r / 128) ceil(B / 4) + b / 4) 512 + (r % 32) 16 + (r % 128 / 32) 4 + b % 4.
#pragma once

#include <span>
#include <string_view>

#include "io/config_keys.h"
#include "io/formats/comfy.h"
#include "io/formats/layer.h"

namespace intaglio {

// Whether the columns of a form are turned.
enum class ComfyTurn { kNever, kIfSaid, kAlways, kAlwaysSaid };

struct ComfyForm {
  std::string_view format;
  bool (*is_weight)(const TensorEntry& weight);
  std::string_view expected;        // what is_weight wants, for messages
  std::span<const ConfigKey> keys;  // of the descriptor
  ComfyTurn turn;
  Expected<LinearEntry> (*linear)(const Layer& layer, const ComfyDescriptor& descriptor);
};

std::span<const ComfyForm> comfy_forms();
// By the format's name; nullptr: unknown.
const ComfyForm* find_comfy_form(std::string_view format);

// kBadFormat unless k columns can be turned so.
Status check_comfy_rotation(const Layer& layer, const Shape& shape, const Rotation& rotation);

Expected<LinearEntry> comfy_int8_linear(const Layer& layer, const ComfyDescriptor& descriptor);
Expected<LinearEntry> comfy_fp8_linear(const Layer& layer, const ComfyDescriptor& descriptor);
Expected<LinearEntry> comfy_w4a4_linear(const Layer& layer, const ComfyDescriptor& descriptor);
Expected<LinearEntry> comfy_w4a8_linear(const Layer& layer, const ComfyDescriptor& descriptor);
Expected<LinearEntry> comfy_awq_linear(const Layer& layer, const ComfyDescriptor& descriptor);
Expected<LinearEntry> comfy_mxfp8_linear(const Layer& layer, const ComfyDescriptor& descriptor);
Expected<LinearEntry> comfy_nvfp4_linear(const Layer& layer, const ComfyDescriptor& descriptor);

}  // namespace intaglio
