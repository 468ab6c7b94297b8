// What `intaglio inspect` says of a model's settings: what is not supported or not known, and its schedules.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>

#include "inspect/inspect_report.h"
#include "io/json_config.h"
#include "pipeline/model_parts.h"

namespace intaglio::cli {

// "not_supported" and "unknown_settings" of a config of a kind that the engine knows (by its class), where there are any.
void add_settings_facts(const JsonConfig& config, nlohmann::ordered_json& facts);

// The schedules of a model: its default and its presets. `parts`: where its parts lie.
PartReport schedules_report(const std::filesystem::path& folder, const JsonConfig& index,
                            const ModelParts& parts);

}  // namespace intaglio::cli
