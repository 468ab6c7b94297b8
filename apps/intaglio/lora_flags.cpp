#include "lora_flags.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <optional>

#include "io/printable.h"

namespace intaglio::cli {
namespace {

namespace fs = std::filesystem;

struct Named {
  std::string file;
  float strength = 1.0f;
};

Expected<Named> split(const std::string& argument) {
  std::error_code ignored;
  const size_t colon = argument.rfind(':');
  if (colon == std::string::npos || fs::exists(argument, ignored)) return Named{argument};
  const std::string_view text = std::string_view(argument).substr(colon + 1);
  Named named{argument.substr(0, colon)};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), named.strength);
  if (error == std::errc() && end == text.data() + text.size() && std::isfinite(named.strength))
    return named;
  return make_error(ErrorCode::kInvalidArgument,
                    "--lora: expected FILE or FILE:STRENGTH, a number such as 0.8, found \"{}\"",
                    printable(argument));
}

}  // namespace

void add_lora_flag(CLI::App& command, std::vector<std::string>& loras) {
  command
      .add_option("--lora", loras,
                  "An adapter on the transformers (LoRA, LoHa, LoKr, DoRA or differences), and its "
                  "strength, by default 1; may be given several times")
      ->type_name("FILE[:STRENGTH]")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
}

Expected<AdapterUse> open_lora(const std::string& argument) {
  INTAGLIO_ASSIGN(const Named named, split(argument));
  Expected<std::shared_ptr<const AdapterFile>> file = AdapterFile::open(named.file);
  if (!file) {
    return make_error(file.error().code, "--lora: {}", OwnLines{file.error().message});
  }
  return AdapterUse{std::move(*file), named.strength};
}

std::vector<std::string> lora_names(const std::vector<AdapterUse>& uses) {
  std::vector<std::string> names;
  for (const AdapterUse& use : uses)
    names.push_back(fmt::format("{}:{}", use.file->path().stem().string(), use.strength));
  return names;
}

}  // namespace intaglio::cli
