// optimum-quanto's checkpoints (0.2.7 of October 2025) of qint8 weights:
//   P.weight._data   I8 [n, k]
//   P.weight._scale  floats [n, 1]
//   P.input_scale, P.output_scale   of its own product: ignored
//   W = q scale
// Its four-bit and eight-bit float weights lie in other types or have other tensors beside them.
#pragma once

#include "io/formats/formats.h"

namespace intaglio {

inline constexpr std::string_view kQuantoParts[] = {"weight._data", "weight._scale", "input_scale",
                                                    "output_scale"};

Refusal quanto_refusal(const TensorSet& tensors);
Expected<std::vector<LinearEntry>> quanto_linears(const TensorSet& tensors);

}  // namespace intaglio
