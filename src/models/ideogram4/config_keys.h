// Every key of the configs of an Ideogram 4 checkpoint, and what it means here.
#pragma once

#include <string>

#include "core/status.h"
#include "io/config_keys.h"
#include "io/json_config.h"

namespace intaglio::ideogram4 {

enum class ConfigKind { kModelIndex, kScheduler, kTransformer, kTextEncoder, kVae, kTokenizer };

// kUnsupported that lists every setting, nested ones too, that would have to change what is computed and does not. What is read is its parser's affair.
Status check_known_keys(ConfigKind kind, const JsonConfig& config);

// Keys of no meaning here, nested ones by their path ("text_config.softcap").
UnknownKeys unknown_keys(ConfigKind kind, const JsonConfig& config);

}  // namespace intaglio::ideogram4
