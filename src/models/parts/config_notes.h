// What tables of config keys (io/config_keys.h) of several models have in common.
#pragma once

#include <string_view>
#include <vector>

#include "io/config_keys.h"

namespace intaglio {

// The configs of a model in a folder of the diffusers layout.
enum class ConfigKind { kModelIndex, kScheduler, kTransformer, kTextEncoder, kVae, kTokenizer };

using ConfigTable = std::vector<ConfigKey>;

inline constexpr std::string_view kFalse = "[false]";
inline constexpr std::string_view kTrue = "[true]";
inline constexpr std::string_view kNull = "[]";
inline constexpr std::string_view kSilu = R"(["silu", "swish"])";

// `table` and what writers of configs note down beside the settings.
ConfigTable with_notes(ConfigTable table);

// Keys of a model_index.json of a model: `classes` of the pipeline, as JSON, and `own`.
ConfigTable pipeline_keys(std::string_view classes, const ConfigTable& own = {});

// kUnsupported if the config says that its weights were quantized by a program whose checkpoints
// are not read.
Status check_quantization(const JsonConfig& config);

// model_index.json, of which `table` has the keys, with what its makers say of schedules:
// "intaglio" and "presets" (models/model_info.h).
Expected<std::vector<KeyedConfig>> keyed_model_index(const JsonConfig& config,
                                                     const ConfigTable& table);

}  // namespace intaglio
