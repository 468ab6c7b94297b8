// Weights of eight-bit floats that nothing describes: the types and the scales say all.
//
// The official FP8 checkpoint of Ideogram 4 (reference package of June 2026), transformers and text
// encoder:
//   P.weight        F8_E4M3 [n, k]
//   P.weight_scale  F32 [n]
// A linear without the scale is of floats. The text encoder's config.json has
// "ideogram_fp8_weight_only", which says no more than the types do.
//
// Casts without scales, as PyTorch makes them of every tensor, vectors too: W is what is stored.
#pragma once

#include "io/formats/formats.h"

namespace intaglio {

inline constexpr std::string_view kFp8Parts[] = {"weight_scale", "scale_weight", "input_scale",
                                                 "scale_input"};

Refusal ideogram_fp8_refusal(const TensorSet& tensors);
Refusal fp8_plain_refusal(const TensorSet& tensors);
// Of both.
Expected<std::vector<LinearEntry>> fp8_linears(const TensorSet& tensors);

}  // namespace intaglio
