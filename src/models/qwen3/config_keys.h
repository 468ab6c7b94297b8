// Every key of the configs of Qwen3 and of the language model of Qwen3-VL, and what it means here.
#pragma once

#include <vector>

#include "core/status.h"
#include "io/config_keys.h"

namespace intaglio::qwen3 {

// Of text_encoder/config.json: the file itself, its `text_config` and their ropes. An object of the
// wrong type is its parser's error.
Expected<std::vector<KeyedConfig>> keyed_text_config(const JsonConfig& config);
// Of tokenizer_config.json.
std::vector<KeyedConfig> keyed_tokenizer_config(const JsonConfig& config);

}  // namespace intaglio::qwen3
