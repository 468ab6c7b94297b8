#include "io/config_keys.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/escape.h"
#include "io/printable.h"

namespace intaglio {
namespace {

std::string shown(const nlohmann::json& value) {
  return printable(value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), 120);
}

// "silu or swish", without the brackets of the array.
std::string choices(const nlohmann::json& values) {
  std::vector<std::string> texts;
  for (const nlohmann::json& value : values) texts.push_back(shown(value));
  return texts.empty() ? "null" : fmt::format("{}", fmt::join(texts, " or "));
}

bool changes_nothing(std::string_view key, const nlohmann::json& value) {
  if (key.starts_with('_') || value.is_null()) return true;
  if (value.is_boolean()) return !value.get<bool>();
  if (value.is_string()) return value.get_ref<const std::string&>().empty();
  return value.is_structured() && value.empty();
}

}  // namespace

Status check_config_keys(std::span<const KeyedConfig> parts) {
  std::vector<std::string> problems;
  for (const KeyedConfig& part : parts) {
    for (const ConfigKey& key : part.table) {
      if (key.role != KeyRole::kOnly || !part.config.contains(key.name)) continue;
      const nlohmann::json& value = part.config.json().at(key.name);
      const nlohmann::json values = nlohmann::json::parse(key.values);
      if (std::find(values.begin(), values.end(), value) != values.end()) continue;
      problems.push_back(fmt::format("{}{}: found {}, supported is {}{}{}", part.config.where(),
                                     key.name, shown(value), choices(values),
                                     key.reason.empty() ? "" : ": ", key.reason));
    }
  }
  if (problems.empty()) return {};
  return make_error(ErrorCode::kUnsupported, "{}",
                    OwnLines{fmt::format("{}", fmt::join(problems, "\n  "))});
}

UnknownKeys unknown_config_keys(std::span<const KeyedConfig> parts) {
  UnknownKeys unknown;
  for (const KeyedConfig& part : parts) {
    for (const auto& [name, value] : part.config.json().items()) {
      const bool known =
          std::any_of(part.table.begin(), part.table.end(),
                      [&key_name = name](const ConfigKey& key) { return key.name == key_name; });
      if (known) continue;
      unknown.all.push_back(part.prefix + name);
      if (!changes_nothing(name, value)) unknown.arithmetic.push_back(unknown.all.back());
    }
  }
  return unknown;
}

}  // namespace intaglio
