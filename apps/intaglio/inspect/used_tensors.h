// Which tensors of a model's parts the engine reads, by name.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string_view>

namespace intaglio::cli {

// Tells for a tensor name whether the engine reads it; empty for a part the engine does not know.
// `part`: "transformer", "unconditional_transformer", "text_encoder" or "vae"; `config` and
// `model_index` as read from the model.
std::function<bool(std::string_view name)> used_tensors(std::string_view part,
                                                        const nlohmann::json& config,
                                                        const nlohmann::json& model_index);

}  // namespace intaglio::cli
