// Every key of the configs of a Z-Image checkpoint, and what it means here.
#pragma once

#include <vector>

#include "core/status.h"
#include "io/config_keys.h"
#include "io/json_config.h"
#include "models/parts/config_notes.h"

namespace intaglio::z_image {

// The config and the objects nested in it, each with its table.
Expected<std::vector<KeyedConfig>> keyed_config(ConfigKind kind, const JsonConfig& config);

}  // namespace intaglio::z_image
