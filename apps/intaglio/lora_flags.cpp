#include "lora_flags.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <optional>
#include <random>

#include "argument_values.h"
#include "io/printable.h"
#include "models/synthetic_adapter.h"

namespace intaglio::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kRandom = "random:";

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

Expected<AdapterUse> open_benchmark_lora(const std::string& argument, const Model& model) {
  if (!argument.starts_with(kRandom)) return open_lora(argument);
  std::string rank_text = argument.substr(kRandom.size());
  float strength = 1.0f;
  if (rank_text.find(':') != std::string::npos) {
    INTAGLIO_ASSIGN(const Named named, split(rank_text));
    rank_text = named.file;
    strength = named.strength;
  }
  const std::optional<int64_t> rank = whole_number(rank_text);
  if (!rank || *rank < 1 || *rank > kMostSyntheticRank)
    return make_error(ErrorCode::kInvalidArgument,
                      "--lora: random:RANK takes a whole number from 1 to {}, found \"{}\"",
                      kMostSyntheticRank, printable(rank_text));
  std::error_code error;
  const fs::path folder = fs::temp_directory_path(error);
  const fs::path file =
      folder / fmt::format("intaglio-random-{}-{}.safetensors", *rank, std::random_device{}());
  if (error)
    return make_error(ErrorCode::kIo, "--lora {}: no folder for temporary files: {}", argument,
                      error.message());
  INTAGLIO_TRY(write_synthetic_adapter(model, {.rank = *rank}, file));
  Expected<std::shared_ptr<const AdapterFile>> opened = AdapterFile::open(file);
  // What is open stays readable.
  fs::remove(file, error);
  if (!opened) return tl::unexpected<Error>(opened.error());
  return AdapterUse{std::move(*opened), strength};
}

}  // namespace intaglio::cli
