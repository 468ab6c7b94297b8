#include "io/json_config.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <new>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/files.h"
#include "core/out_of_memory.h"
#include "io/printable.h"

namespace intaglio {
namespace {

constexpr size_t kMaxJsonBytes = size_t{1} << 28;
// Configs nest four deep; a bound keeps hostile nesting from using memory far beyond the file's
// size.
constexpr int kMaxJsonDepth = 100;

// Where the byte with the number `byte`, counted from 1, lies for people.
std::string place_in(std::string_view text, size_t byte) {
  const std::string_view before = text.substr(0, byte > 0 ? byte - 1 : 0);
  const size_t line = before.rfind('\n');
  return fmt::format("line {}, column {}", 1 + std::count(before.begin(), before.end(), '\n'),
                     before.size() - (line == std::string_view::npos ? 0 : line + 1) + 1);
}

std::string found(const nlohmann::json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return fmt::format("an array of {}", value.size());
  return printable(value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), 60);
}

// nullopt unless `value` is an integer within int64.
std::optional<int64_t> as_integer(const nlohmann::json& value) {
  if (value.is_number_unsigned()) {
    const auto number = value.get<uint64_t>();
    if (number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
    return static_cast<int64_t>(number);
  }
  if (value.is_number_integer()) return value.get<int64_t>();
  return std::nullopt;
}

}  // namespace

Expected<JsonConfig> JsonConfig::open(const std::filesystem::path& path) {
  return guard_file_memory(path, "reading", [&]() -> Expected<JsonConfig> {
    INTAGLIO_ASSIGN(const std::string text, read_file(path, kMaxJsonBytes));
    return parse(text, path.string());
  });
}

int json_depth(std::string_view text) {
  int depth = 0, deepest = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      deepest = std::max(deepest, ++depth);
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return deepest;
}

Expected<nlohmann::json> parse_json(std::string_view text, const std::string& name) {
  if (json_depth(text) > kMaxJsonDepth) {
    return make_error(ErrorCode::kBadFormat, "{}: JSON nested more than {} deep", name,
                      kMaxJsonDepth);
  }
  // The parser would take it for the end, and pass over what comes after.
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos) {
    return make_error(ErrorCode::kBadFormat, "{}: not valid JSON at {}", name,
                      place_in(text, nul + 1));
  }
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::parse_error& error) {
    return make_error(ErrorCode::kBadFormat, "{}: not valid JSON at {}", name,
                      place_in(text, error.byte));
  } catch (const nlohmann::json::out_of_range&) {
    return make_error(ErrorCode::kBadFormat, "{}: not valid JSON: a number is too large", name);
  } catch (const std::bad_alloc&) {
    return make_error(ErrorCode::kOutOfMemory, "{}: not enough memory to read it", name);
  } catch (const std::exception&) {
    return make_error(ErrorCode::kBadFormat, "{}: not valid JSON", name);
  }
}

Expected<JsonConfig> JsonConfig::parse(std::string_view text, const std::string& name) {
  INTAGLIO_ASSIGN(nlohmann::json json, parse_json(text, name));
  if (!json.is_object()) {
    return make_error(ErrorCode::kBadFormat, "{}: expected a JSON object, found {}", name,
                      found(json));
  }
  return JsonConfig(std::move(json), name + ": ");
}

JsonConfig::JsonConfig(nlohmann::json json, std::string name)
    : json_(std::make_shared<const nlohmann::json>(std::move(json))), name_(std::move(name)) {}

bool JsonConfig::contains(std::string_view key) const {
  return json_->contains(key) && !json_->at(key).is_null();
}

Expected<int64_t> JsonConfig::integer(std::string_view key, int64_t min, int64_t max) const {
  if (!contains(key)) {
    return make_error(ErrorCode::kBadFormat, "{}{}: missing, expected an integer in [{}, {}]",
                      name_, key, min, max);
  }
  const nlohmann::json& value = json_->at(key);
  const std::optional<int64_t> number = as_integer(value);
  if (!number || *number < min || *number > max) {
    return make_error(ErrorCode::kBadFormat, "{}{}: expected an integer in [{}, {}], found {}",
                      name_, key, min, max, found(value));
  }
  return *number;
}

Expected<int64_t> JsonConfig::integer_or(std::string_view key, int64_t fallback, int64_t min,
                                         int64_t max) const {
  return contains(key) ? integer(key, min, max) : Expected<int64_t>(fallback);
}

Expected<double> JsonConfig::number(std::string_view key) const {
  if (!contains(key))
    return make_error(ErrorCode::kBadFormat, "{}{}: missing, expected a number", name_, key);
  const nlohmann::json& value = json_->at(key);
  if (!value.is_number() || !std::isfinite(value.get<double>())) {
    return make_error(ErrorCode::kBadFormat, "{}{}: expected a number, found {}", name_, key,
                      found(value));
  }
  return value.get<double>();
}

Expected<double> JsonConfig::number_or(std::string_view key, double fallback) const {
  return contains(key) ? number(key) : Expected<double>(fallback);
}

Expected<bool> JsonConfig::boolean_or(std::string_view key, bool fallback) const {
  if (!contains(key)) return fallback;
  const nlohmann::json& value = json_->at(key);
  if (!value.is_boolean()) {
    return make_error(ErrorCode::kBadFormat, "{}{}: expected true or false, found {}", name_, key,
                      found(value));
  }
  return value.get<bool>();
}

Expected<std::string> JsonConfig::string_or(std::string_view key,
                                            const std::string& fallback) const {
  if (!contains(key)) return fallback;
  const nlohmann::json& value = json_->at(key);
  if (!value.is_string()) {
    return make_error(ErrorCode::kBadFormat, "{}{}: expected a string, found {}", name_, key,
                      found(value));
  }
  return value.get<std::string>();
}

Expected<std::vector<int64_t>> JsonConfig::integers(std::string_view key, int64_t min, int64_t max,
                                                    size_t max_count) const {
  if (!contains(key) || !json_->at(key).is_array() || json_->at(key).size() > max_count) {
    return make_error(ErrorCode::kBadFormat,
                      "{}{}: expected an array of at most {} integers, found {}", name_, key,
                      max_count, contains(key) ? found(json_->at(key)) : "nothing");
  }
  std::vector<int64_t> result;
  for (const nlohmann::json& value : json_->at(key)) {
    const std::optional<int64_t> number = as_integer(value);
    if (!number || *number < min || *number > max) {
      return make_error(ErrorCode::kBadFormat,
                        "{}{}[{}]: expected an integer in [{}, {}], found {}", name_, key,
                        result.size(), min, max, found(value));
    }
    result.push_back(*number);
  }
  return result;
}

Expected<JsonConfig> JsonConfig::object(std::string_view key) const {
  if (!contains(key) || !json_->at(key).is_object()) {
    return make_error(ErrorCode::kBadFormat, "{}{}: expected an object, found {}", name_, key,
                      contains(key) ? found(json_->at(key)) : "nothing");
  }
  return JsonConfig(json_->at(key), fmt::format("{}{}.", name_, key));
}

}  // namespace intaglio
