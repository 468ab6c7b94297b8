// Every key of the configs of an Ideogram 4 checkpoint, and what it means here.
#pragma once

#include <vector>

#include "core/status.h"
#include "io/config_keys.h"
#include "io/json_config.h"
#include "models/parts/config_notes.h"

namespace intaglio::ideogram4 {

// The config and the objects nested in it, each with its table.
Expected<std::vector<KeyedConfig>> keyed_config(ConfigKind kind, const JsonConfig& config);

}  // namespace intaglio::ideogram4
