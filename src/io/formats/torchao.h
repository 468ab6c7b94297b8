// torchao's flattened checkpoints (August 2026): a module M's int8 weight becomes
//   M._weight_qdata       I8 [n, k]
//   M._weight_scale       floats [n / b0, k / b1], one of each block [b0, b1]: of a row, of a group of
//                         columns, or of the tensor
//   M._weight_zero_point  I8 like the scales, zeros where it is symmetric
//   M._weight_act_pre_scale                          [k], or none: x is multiplied by it
//   M._weight_act_quant_scale, _act_quant_zero_point of its own product: ignored
//   __metadata__["M.weight"]  {"_type": "Int8Tensor", "_data": {...}}
//   W = (q - zero) scale
// Other types pack their numbers in ways of their own, so the note must be there.
#pragma once

#include "io/formats/formats.h"

namespace intaglio {

inline constexpr std::string_view kTorchaoParts[] = {
    "_weight_qdata",         "_weight_scale",           "_weight_zero_point",
    "_weight_act_pre_scale", "_weight_act_quant_scale", "_weight_act_quant_zero_point"};

Refusal torchao_refusal(const TensorSet& tensors);
Expected<std::vector<LinearEntry>> torchao_linears(const TensorSet& tensors);

}  // namespace intaglio
