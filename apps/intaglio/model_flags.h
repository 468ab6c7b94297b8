// Flags that say which model and which schedule.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "core/status.h"
#include "models/model.h"
#include "models/model_files.h"
#include "models/presets.h"
#include "prompts.h"

namespace CLI {
class App;
}

namespace intaglio::cli {

struct ModelFlags {
  std::string model = "mini";
  std::optional<std::string> transformer{}, unconditional{}, text_encoder{}, vae{}, tokenizer{};
};
// --model and, in place of its parts, --transformer and so on.
void add_model_flags(CLI::App& command, ModelFlags& flags);
// The parts alone, for a command that has its model from elsewhere.
// --model NAME and --layers N of benchmarks with random weights; 0 layers: the model's.
void add_benchmark_model_flags(CLI::App& command, std::string& model, int64_t& layers);
// `name`: as synthetic_model takes it, with or without "synthetic:" in front.
Expected<std::shared_ptr<const Model>> benchmark_model(const std::string& name, int64_t layers);

void add_part_flags(CLI::App& command, ModelFlags& flags);

// The folder of a model: `argument` itself, a repository in the Hugging Face cache, or for "mini"
// the bundled one ($INTAGLIO_MODELS/mini, the installation's share/intaglio/models/mini,
// models/mini in the source tree). kNotFound lists the places tried.
Expected<std::filesystem::path> resolve_model(const std::string& argument);

// Where the parts of `folder` lie, those of the flags in their place; kNotFound names the flag.
Expected<ModelPaths> part_paths(const std::filesystem::path& folder, const ModelFlags& flags);

// "synthetic:NAME" (synthetic_model), else what resolve_model finds, with the parts of the flags.
Expected<std::shared_ptr<const Model>> open_model(const ModelFlags& flags);
Expected<std::shared_ptr<const Model>> open_model(const std::string& argument);

struct ScheduleFlags {
  std::optional<std::string> preset = {}, steps = {}, mu = {}, std = {}, shift = {}, guidance = {};
};
// The flags go to the settings' members of their names.
void add_schedule_flags(CLI::App& command, PictureSettings& settings);
void add_cache_flag(CLI::App& command, std::optional<std::string>& cache);
void add_progressive_flag(CLI::App& command, std::optional<std::string>& progressive);
// --cache: what PictureRequest::cache takes, or a file of masks, "FILE.json" or "FILE.json:NAME",
// of which the one of that name for the request's steps is taken, the first without a name.
Status take_cache(const std::string& flag, PictureRequest& request);
// kInvalidArgument names the flag.
Expected<ScheduleRequest> parse_schedule(const ScheduleFlags& flags);

}  // namespace intaglio::cli
