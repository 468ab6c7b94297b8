// Every key of the config of an autoencoder, and what it means here.
#pragma once

#include <vector>

#include "io/config_keys.h"

namespace intaglio::autoencoder {

// Of vae/config.json.
std::vector<KeyedConfig> keyed_config(const JsonConfig& config);

}  // namespace intaglio::autoencoder
