// What a config may say: one table a kind of config, one line a key, so that no key is passed over by accident.
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

// kUnsupported that lists every key with another value than the table has.
Status check_config_keys(const JsonConfig& config, std::span<const ConfigKey> table);

struct UnknownKeys {
  std::vector<std::string> all;         // sorted
  std::vector<std::string> arithmetic;  // of them, those that may change what is computed
};
// Keys that the table lacks; `prefix` goes before each. A key that is null, false, empty or a note of its writer (a leading _) changes nothing.
UnknownKeys unknown_config_keys(const JsonConfig& config, std::span<const ConfigKey> table,
                                std::string_view prefix = {});

}  // namespace intaglio
