// What a config may say: one table a kind of config, one line a key, so that no key is passed over
// by accident.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "io/json_config.h"

namespace intaglio {

enum class KeyRole {
  kRead,     // its reader honours it, or refuses it
  kOnly,     // only some values are supported
  kHarmless  // changes nothing of what is computed here
};

struct ConfigKey {
  std::string_view name;
  KeyRole role = KeyRole::kRead;
  std::string_view values = {};  // of kOnly: a JSON array of what is supported beside null
  std::string_view reason = {};  // why nothing else is, for the message
};

// A config, or an object nested in one under `prefix` ("text_config."), and its table.
struct KeyedConfig {
  JsonConfig config;
  std::span<const ConfigKey> table;
  std::string prefix = {};
};

// kUnsupported that lists every key, nested ones too, with another value than its table has.
Status check_config_keys(std::span<const KeyedConfig> parts);

struct UnknownKeys {
  std::vector<std::string> all;         // in the order of the parts, sorted in each
  std::vector<std::string> arithmetic;  // of them, those that may change what is computed
};
// Keys that the tables lack, nested ones by their path ("text_config.softcap"). A key that is null,
// false, empty or a note of its writer (a leading _) changes nothing.
UnknownKeys unknown_config_keys(std::span<const KeyedConfig> parts);

}  // namespace intaglio
