// Configuration files out of anything, through every getter.
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "fuzz/fuzz_check.h"
#include "io/json_config.h"

namespace {

using intaglio::JsonConfig;

template <typename T>
void check_error(const intaglio::Expected<T>& result) {
  if (!result) FUZZ_CHECK(result.error().message.starts_with("fuzz.json: "));
}

void read(const JsonConfig& config, std::string_view key, int depth);

void read_all(const JsonConfig& config, int depth) {
  for (const auto& item : config.json().items()) read(config, item.key(), depth);
  read(config, "hidden_size", depth);
}

void read(const JsonConfig& config, std::string_view key, int depth) {
  const auto integer = config.integer(key, -5, 1 << 20);
  check_error(integer);
  if (integer) FUZZ_CHECK(*integer >= -5 && *integer <= 1 << 20);
  check_error(config.integer(key, INT64_MIN, INT64_MAX));
  check_error(config.integer_or(key, 7, 0, 100));
  check_error(config.number(key));
  check_error(config.number_or(key, 0.5));
  check_error(config.boolean_or(key, true));
  check_error(config.string_or(key, "none"));
  const auto list = config.integers(key, 0, 1000, 4);
  check_error(list);
  if (list) FUZZ_CHECK(list->size() <= 4);
  const auto object = config.object(key);
  check_error(object);
  // Two levels: each copies what is below it.
  if (object && depth < 2) read_all(*object, depth + 1);
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto config = JsonConfig::parse({reinterpret_cast<const char*>(data), size}, "fuzz.json");
  check_error(config);
  if (config) read_all(*config, 0);
  return 0;
}
