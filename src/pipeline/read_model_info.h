// What a model folder says about itself, before its parts are opened.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "io/checkpoint.h"
#include "io/json_config.h"
#include "pipeline/pipeline.h"

namespace intaglio {

inline constexpr int64_t kMaxSide = 1 << 20;  // pixels
inline constexpr int64_t kMaxSteps = 10000;

// From model_index.json, whose contents `index` is, and the scheduler's config.
Expected<ModelInfo> read_model_info(const std::filesystem::path& folder, const JsonConfig& index);

// Names of the tensors that end in ".weight", without that.
std::vector<std::string> linear_names(const Checkpoint& checkpoint);

}  // namespace intaglio
