// What `intaglio inspect` predicts of a model's memory, a precision each: the plan's own numbers.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>

#include "inspect/inspect_report.h"
#include "io/json_config.h"
#include "models/model_files.h"

namespace intaglio::cli {

// Facts "memory", for people, and "memory_bytes" of a model: its weights on a GPU, and what a
// guided picture takes beside them on the device that `generate` would choose. Of a model that does
// not open, why not, as "memory_not_predicted".
void add_model_memory(const ModelPaths& paths, nlohmann::ordered_json& facts);

// The same of a transformer alone, and its model's "presets". `config`: that of its folder; without
// one the tensors must be those of a known model in its own sizes. Nothing if the weights are of
// another part.
void add_transformer_memory(const std::filesystem::path& weights,
                            const std::optional<JsonConfig>& config, nlohmann::ordered_json& facts);

}  // namespace intaglio::cli
