// Linears of eight-bit floats and a scale of the tensor or of each row: W = q * scale.
#pragma once

#include <optional>
#include <string>

#include "io/formats/layer.h"
#include "io/formats/stored_weights.h"

namespace intaglio {

// "<layer>.weight", F8_E4M3 or F8_E5M2 [n, k]. `scale`: floats of one element or n, or nullptr: 1.
std::shared_ptr<const LinearDecoder> make_fp8_rows(const TensorEntry& weight,
                                                   const TensorEntry* scale);

// The linear whose scale, if there is one, is "weight_scale" or the older "scale_weight". Other
// tensors beside it than `known` are refused.
Expected<LinearEntry> fp8_linear(const Layer& layer, std::span<const std::string_view> known);

// Whether the entry is an eight-bit float weight.
bool is_fp8_tensor(const TensorEntry& entry);

// A part of a linear of e4m3 rows as its bytes and a scale each, for those who make numbers of them
// themselves: StoredWeights::linear gives four times as many bytes as floats. nullopt for any other
// linear, and wherever a number would not be finite: the floats' reader says which.
Expected<std::optional<LoadedLinear>> read_e4m3_rows(const LinearEntry& entry,
                                                     const Context& context,
                                                     const LinearPart& part);

// The same with a reader instead of bytes, which finds the NaN. Errors name `path`.
Expected<std::optional<LoadedLinear>> defer_e4m3_rows(const std::string& path,
                                                      const LinearEntry& entry,
                                                      const LinearPart& part);

}  // namespace intaglio
