// What `intaglio inspect` says of a model's settings: what is not supported or not known, its
// schedules, and which tensors of a part are used.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "inspect/inspect_report.h"
#include "io/json_config.h"
#include "models/model_files.h"

namespace intaglio::cli {

// "not_supported" and "unknown_settings" of a config of a kind that the engine knows (by its
// class), where there are any. `index`: model_index.json of the model that the config is of, or an
// empty object; without it the models are asked in turn, and one that takes the config decides.
void add_settings_facts(const JsonConfig& config, const JsonConfig& index,
                        nlohmann::ordered_json& facts);

// The schedules of a model that the engine knows, its default and its presets; nullopt of another.
std::optional<PartReport> schedules_report(const ModelPaths& paths, const JsonConfig& index);

// Names of the tensors that the engine reads of a part with this config; nullopt if nothing is
// known of it.
std::optional<std::set<std::string>> used_tensors(std::string_view part, const JsonConfig& config,
                                                  const JsonConfig& index);

}  // namespace intaglio::cli
