// JSON configuration files, read with bounds and clear errors.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"

namespace intaglio {

// Deepest nesting of brackets outside strings; an upper bound for valid JSON, and invalid JSON
// fails in the parser.
int json_depth(std::string_view text);

// Any JSON value, nested at most 100 deep; kBadFormat naming `name` and the place of the mistake.
Expected<nlohmann::json> parse_json(std::string_view text, const std::string& name);

// An object of a config file and where it came from. Getters name the file, the key, what was found
// and what was expected.
class JsonConfig {
 public:
  static Expected<JsonConfig> open(const std::filesystem::path& path);
  static Expected<JsonConfig> parse(std::string_view text, const std::string& name);

  const nlohmann::json& json() const { return *json_; }
  // What messages about a key start with: the file, the key path of a nested object, ": " between
  // them and the key.
  const std::string& where() const { return name_; }
  bool contains(std::string_view key) const;  // and not null

  Expected<int64_t> integer(std::string_view key, int64_t min, int64_t max) const;
  Expected<int64_t> integer_or(std::string_view key, int64_t fallback, int64_t min,
                               int64_t max) const;      // absent or null: fallback
  Expected<double> number(std::string_view key) const;  // finite
  Expected<double> number_or(std::string_view key, double fallback) const;
  Expected<bool> boolean_or(std::string_view key, bool fallback) const;
  Expected<std::string> string_or(std::string_view key, const std::string& fallback) const;
  Expected<std::vector<int64_t>> integers(std::string_view key, int64_t min, int64_t max,
                                          size_t max_count) const;
  Expected<JsonConfig> object(std::string_view key) const;

 private:
  JsonConfig(nlohmann::json json, std::string name);
  std::shared_ptr<const nlohmann::json> json_;  // of a type that this header need not know
  std::string name_;                            // path, with the key path of nested objects
};

}  // namespace intaglio
