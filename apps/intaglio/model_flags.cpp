#include "model_flags.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cmath>

#include "argument_values.h"
#include "io/printable.h"
#include "models/find_model.h"
#include "models/named_model.h"
#include "models/registry.h"

namespace intaglio::cli {
namespace {

namespace fs = std::filesystem;

// "synthetic:NAME" of every model, in quotes.
std::string synthetic_names() {
  std::vector<std::string> names;
  for (const std::string_view name : synthetic_model_names())
    names.push_back(fmt::format("\"{}{}\"", kSyntheticPrefix, name));
  return fmt::format("{}", fmt::join(names, ", "));
}

template <typename T>
bool parse_number(std::string_view text, T& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

Expected<double> parse_real(std::string_view flag, const std::string& text, bool positive) {
  double value = 0.0;
  if (parse_number(text, value) && std::isfinite(value) && (!positive || value > 0.0)) return value;
  return make_error(ErrorCode::kInvalidArgument, "{}: expected a {}number, found \"{}\"", flag,
                    positive ? "positive " : "", printable(text, 60));
}

}  // namespace

void add_part_flags(CLI::App& command, ModelFlags& flags) {
  const auto add = [&](const char* flag, std::optional<std::string>& value, const char* what) {
    command.add_option(flag, value, fmt::format("{} from elsewhere than the model's folder", what))
        ->type_name("DIR|FILE");
  };
  add("--transformer", flags.transformer,
      "The transformer (a folder, a safetensors or GGUF file or owner/name; others alike)");
  command
      .add_option("--unconditional", flags.unconditional,
                  "The unconditional transformer from elsewhere; none: leave it out, for a "
                  "distilled --transformer, which is drawn at guidance 1")
      ->type_name("DIR|FILE|none");
  add("--text-encoder", flags.text_encoder, "The text encoder");
  add("--vae", flags.vae, "The VAE");
  add("--tokenizer", flags.tokenizer, "The tokenizer");
}

void add_model_flags(CLI::App& command, ModelFlags& flags) {
  command
      .add_option(
          "--model", flags.model,
          fmt::format("Folder of a model (diffusers layout); owner/name, which `hf download` has "
                      "fetched; \"mini\", the bundled one; or {}: random weights in a model's "
                      "sizes, to see times and memory without its files",
                      synthetic_names()))
      ->capture_default_str();
  add_part_flags(command, flags);
}

void add_benchmark_model_flags(CLI::App& command, std::string& model, int64_t& layers) {
  command
      .add_option("--model", model,
                  fmt::format("Whose sizes: {}; NAME+convrot256: stored as ConvRot files are",
                              fmt::join(synthetic_model_names(), ", ")))
      ->type_name("NAME")
      ->capture_default_str();
  limit(command.add_option("--layers", layers, "Layers instead of as many as the model has"), 1,
        200);
}

Expected<std::shared_ptr<const Model>> benchmark_model(const std::string& name, int64_t layers) {
  std::string_view sizes = name;
  if (sizes.starts_with(kSyntheticPrefix)) sizes.remove_prefix(kSyntheticPrefix.size());
  auto model = synthetic_model(sizes, layers > 0 ? std::optional<int64_t>(layers) : std::nullopt);
  if (!model)
    return make_error(model.error().code, "--model: {}", printable(model.error().message, 200));
  return model;
}

Expected<fs::path> resolve_model(const std::string& argument) {
  return find_model_folder("--model", argument,
                           "; `hf download ideogram-ai/ideogram-v4` fetches Ideogram 4's weights, "
                           "--model ideogram-ai/ideogram-v4 finds them");
}

Expected<ModelPaths> part_paths(const fs::path& folder, const ModelFlags& flags) {
  ModelPaths paths{.folder = folder};
  const auto find = [](std::string_view flag, const std::optional<std::string>& value,
                       std::optional<fs::path>& path) -> Status {
    if (!value) return {};
    INTAGLIO_ASSIGN(path, find_model_part(flag, *value));
    return {};
  };
  INTAGLIO_TRY(find("--transformer", flags.transformer, paths.transformer));
  paths.without_unconditional = flags.unconditional == "none";
  if (!paths.without_unconditional)
    INTAGLIO_TRY(find("--unconditional", flags.unconditional, paths.unconditional));
  INTAGLIO_TRY(find("--text-encoder", flags.text_encoder, paths.text_encoder));
  INTAGLIO_TRY(find("--vae", flags.vae, paths.vae));
  INTAGLIO_TRY(find("--tokenizer", flags.tokenizer, paths.tokenizer));
  return paths;
}

Expected<std::shared_ptr<const Model>> open_model(const ModelFlags& flags) {
  if (flags.model.starts_with(kSyntheticPrefix)) {
    if (flags.transformer || flags.unconditional || flags.text_encoder || flags.vae ||
        flags.tokenizer)
      return make_error(ErrorCode::kInvalidArgument,
                        "--model {}: takes no parts from elsewhere, all of it is random",
                        printable(flags.model, 60));
    return open_named_model("--model", flags.model);
  }
  INTAGLIO_ASSIGN(const fs::path folder, resolve_model(flags.model));
  INTAGLIO_ASSIGN(const ModelPaths paths, part_paths(folder, flags));
  return intaglio::open_model(paths);
}

Expected<std::shared_ptr<const Model>> open_model(const std::string& argument) {
  ModelFlags flags;
  flags.model = argument;
  return open_model(flags);
}

void add_schedule_flags(CLI::App& command, PictureSettings& flags) {
  command
      .add_option("--preset", flags.preset,
                  "A schedule of the model by its name (`intaglio inspect MODEL` lists them): "
                  "steps, where noise levels lie, and guidance; other flags replace what they say")
      ->type_name("NAME");
  command
      .add_option("--steps", flags.steps,
                  "Sampling steps, 1 to 1000; by default the model's own. The number of a "
                  "published preset and no other flag of the schedule takes that preset")
      ->type_name("1..1000");
  command
      .add_option("--mu", flags.mu,
                  "Where noise levels lie: more is noisier; by default the model's own")
      ->type_name("NUMBER");
  command
      .add_option("--std", flags.std, "How wide noise levels spread; by default the model's own")
      ->type_name("NUMBER");
  command
      .add_option("--shift", flags.shift,
                  "Where noise levels lie, of models without mu and std: more is noisier; by "
                  "default what the model's scheduler says")
      ->type_name("NUMBER");
  command
      .add_option("--guidance", flags.guidance,
                  "Guidance scale: one value, or one a step in the order of sampling (others count "
                  "from the end), 7x45,3x3 for 45 steps at 7 and then 3 at 3; by default the "
                  "model's own")
      ->type_name("G[xN][,...]");
}

void add_cache_flag(CLI::App& command, std::optional<std::string>& cache) {
  command
      .add_option("--cache", cache,
                  "Compute only some passes and take the others from those before: a share of "
                  "the passes such as 0.5, a mask of the model by its name (`intaglio inspect "
                  "MODEL` lists them), or one of a file that `intaglio tune --steps-budget` "
                  "wrote; by default off")
      ->type_name("off|SHARE|NAME|FILE.json[:NAME]");
}

void add_progressive_flag(CLI::App& command, std::optional<std::string>& progressive) {
  command
      .add_option("--progressive", progressive,
                  "First steps at half the width and height, on a quarter of the tokens: their "
                  "number, or a share of all steps such as 0.4; sides must be even in tokens; by "
                  "default off")
      ->type_name("off|STEPS|SHARE");
}

Status take_cache(const std::string& flag, PictureRequest& request) {
  constexpr std::string_view kExtension = ".json";
  const size_t extension = flag.rfind(kExtension);
  if (extension == std::string::npos) {
    request.cache = flag;
    return {};
  }
  const std::string rest = flag.substr(extension + kExtension.size());
  const std::string path = flag.substr(0, extension + kExtension.size());
  if (!rest.empty() && !rest.starts_with(':'))
    return make_error(ErrorCode::kInvalidArgument, "--cache: expected FILE.json:NAME, found \"{}\"",
                      printable(flag, 60));
  INTAGLIO_ASSIGN(const JsonConfig file, JsonConfig::open(path));
  INTAGLIO_ASSIGN(const std::vector<StepMask> masks, read_step_masks(file));
  for (const StepMask& mask : masks) {
    if (mask.steps() != request.steps || (!rest.empty() && mask.name != rest.substr(1))) continue;
    request.mask = mask;
    return {};
  }
  return make_error(ErrorCode::kInvalidArgument, "--cache: {} has no mask{} for {} steps", path,
                    rest.empty() ? "" : " " + printable(rest.substr(1), 60), request.steps);
}

Expected<ScheduleRequest> parse_schedule(const ScheduleFlags& flags) {
  ScheduleRequest request;
  request.preset = flags.preset;
  if (flags.steps) {
    int64_t steps = 0;
    if (!parse_number(*flags.steps, steps) || steps < 1 || steps > kMaxSteps)
      return make_error(ErrorCode::kInvalidArgument,
                        "--steps: expected a whole number from 1 to {}, found \"{}\"", kMaxSteps,
                        printable(*flags.steps, 60));
    request.steps = steps;
  }
  if (flags.mu) {
    INTAGLIO_ASSIGN(request.mu, parse_real("--mu", *flags.mu, false));
  }
  if (flags.std) {
    INTAGLIO_ASSIGN(request.std, parse_real("--std", *flags.std, true));
  }
  if (flags.shift) {
    INTAGLIO_ASSIGN(request.shift, parse_real("--shift", *flags.shift, true));
  }
  if (flags.guidance) {
    INTAGLIO_ASSIGN(request.guidance, parse_guidance("--guidance", *flags.guidance));
  }
  return request;
}

}  // namespace intaglio::cli
