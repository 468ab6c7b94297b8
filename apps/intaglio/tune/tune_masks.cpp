#include "tune/tune_masks.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <nlohmann/json.hpp>

#include "argument_values.h"
#include "console.h"
#include "core/files.h"
#include "interrupt.h"
#include "io/printable.h"
#include "model_flags.h"
#include "models/calibration_prompts.h"
#include "models/choose_picture.h"
#include "models/find_model.h"
#include "options.h"
#include "pipeline/step_mask_search.h"
#include "progress.h"

namespace intaglio::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr uint64_t kFirstSeed = 1;  // of the pictures; the search's is 0

Expected<std::vector<double>> parse_budgets(const std::string& text) {
  std::vector<double> budgets;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (true) {
    double budget = 0.0;
    const auto [next, error] = std::from_chars(at, end, budget);
    if (error != std::errc() || !(budget > 0.0 && budget < 1.0) || (next != end && *next != ','))
      return make_error(ErrorCode::kInvalidArgument,
                        "--steps-budget: expected shares of the passes between 0 and 1, \"0.5\" or "
                        "\"0.5,0.33\", found \"{}\"",
                        printable(text, 60));
    budgets.push_back(budget);
    if (next == end) return budgets;
    at = next + 1;
  }
}

// The search sees the first, the others judge what it found.
struct TuningPictures {
  std::vector<PictureRequest> search, judge;
  Schedule schedule;
};

Expected<std::vector<std::string>> prompts_of(const MaskFlags& flags) {
  if (!flags.prompts)
    return std::vector<std::string>(std::begin(kCalibrationPrompts), std::end(kCalibrationPrompts));
  return read_bare_prompts(*flags.prompts);
}

// As many pictures for the search as asked for and as many for the judgement, of prompts in turn
// and seeds of their own.
Expected<TuningPictures> pictures_of(const MaskFlags& flags, const Model& model,
                                     const std::optional<std::string>& size) {
  TuningPictures pictures;
  PictureChoices choices;
  if (size) {
    INTAGLIO_ASSIGN(const PictureSize read, parse_size(*size));
    choices.width = read.width;
    choices.height = read.height;
  }
  INTAGLIO_ASSIGN(choices.schedule, parse_schedule({.preset = flags.settings.preset,
                                                    .steps = flags.settings.steps,
                                                    .mu = flags.settings.mu,
                                                    .std = flags.settings.std,
                                                    .shift = flags.settings.shift,
                                                    .guidance = flags.settings.guidance}));
  INTAGLIO_ASSIGN(const std::vector<std::string> prompts, prompts_of(flags));
  for (int64_t i = 0; i < 2 * flags.pictures; ++i) {
    choices.prompt = prompts[static_cast<size_t>(i) % prompts.size()];
    choices.seed = kFirstSeed + static_cast<uint64_t>(i);
    std::vector<WrongSetting> wrong;
    ChosenPicture chosen = choose_picture(model.info(), choices, wrong);
    if (!wrong.empty()) return tl::unexpected<Error>(wrong.front().error);
    pictures.schedule = chosen.schedule;
    (i < flags.pictures ? pictures.search : pictures.judge).push_back(std::move(chosen.request));
  }
  return pictures;
}

Expected<std::vector<StepMask>> masks_in(const fs::path& file) {
  std::error_code ignored;
  if (!fs::exists(file, ignored)) return std::vector<StepMask>();
  INTAGLIO_ASSIGN(const JsonConfig json, JsonConfig::open(file));
  return read_step_masks(json);
}

void put(StepMask mask, std::vector<StepMask>& masks) {
  for (StepMask& old : masks) {
    if (old.name != mask.name || old.steps() != mask.steps()) continue;
    old = std::move(mask);
    return;
  }
  masks.push_back(std::move(mask));
}

ordered_json mask_json(const StepMask& mask, double cost, double spread_error) {
  return {{"name", mask.name},
          {"steps", mask.steps()},
          {"passes", pass_work_texts(mask)},
          {"order", mask.order},
          {"first_blocks", mask.first_blocks},
          {"cost", cost},
          {"error", mask.error},
          {"spread_error", spread_error}};
}

void print_mask(const StepMask& mask, const Model& model, const Sampling& sampling,
                const ordered_json& json) {
  print(Stream::kOut, "{}: {:.0f} % of the passes, latents' error {:.4f} ({:.4f} by the rule)\n",
        mask.name, 100.0 * json["cost"].get<double>(), mask.error,
        json["spread_error"].get<double>());
  for (size_t pass = 0; pass < mask.passes.size(); ++pass)
    print(Stream::kOut, "  {}  {}\n", pass_work_text(mask.passes[pass]),
          model.transformer_name(sampling.passes[pass].transformer));
}

}  // namespace

void add_mask_flags(CLI::App& command, MaskFlags& flags) {
  command
      .add_option("--steps-budget", flags.budgets,
                  "Find which passes to compute if only this share of them may be, for "
                  "`generate --cache`; several with commas between. The following flags are its")
      ->type_name("SHARE[,...]");
  add_schedule_flags(command, flags.settings);
  command
      .add_option("--prompts", flags.prompts,
                  "Prompts to judge by, one a line; by default eight of the engine's own")
      ->type_name("FILE|-");
  limit(command.add_option("--pictures", flags.pictures,
                           "Pictures that judge a mask, and as many others that judge the best"),
        1, 1000)
      ->capture_default_str();
  limit(command.add_option("--evaluations", flags.evaluations, "Masks that are tried"), 1, 1000000)
      ->capture_default_str();
  limit(command.add_option("--first-blocks", flags.first_blocks,
                           "Blocks that are computed of a pass that reuses the others"),
        1, 1000)
      ->capture_default_str();
  command
      .add_option("--out", flags.out,
                  "File of masks to add to; by default step_masks.json in the model's folder")
      ->type_name("FILE");
  add_precision_flag(command, flags.precision);
  limit(command.add_option("--threads", flags.threads,
                           "Threads of a CPU; 0: as many as the process may use"),
        0, 1024)
      ->capture_default_str();
}

Status tune_masks(const MaskFlags& flags, const std::string& model_name,
                  const std::optional<std::string>& size, const std::optional<std::string>& device,
                  bool json, ordered_json& out) {
  INTAGLIO_ASSIGN(const std::vector<double> budgets, parse_budgets(*flags.budgets));
  INTAGLIO_ASSIGN(const std::shared_ptr<const Model> model, open_model(model_name));
  if (!flags.out && model->info().folder.empty())
    return make_error(ErrorCode::kInvalidArgument, "--model {}: has no folder, expected --out",
                      printable(model_name, 60));
  const fs::path file = flags.out ? fs::path(*flags.out) : model->info().folder / kStepMaskFile;
  INTAGLIO_ASSIGN(std::vector<StepMask> masks, masks_in(file));
  INTAGLIO_ASSIGN(const TuningPictures pictures, pictures_of(flags, *model, size));
  PipelineOptions options;
  options.selection.precision = *precision_from_name(flags.precision);
  options.threads = flags.threads;
  INTAGLIO_ASSIGN(options.gpu, parse_device(device.value_or("auto")));
  INTAGLIO_ASSIGN(const std::unique_ptr<Pipeline> pipeline, Pipeline::open(model, options));
  const std::vector<int64_t> blocks = model->cached_blocks();
  Progress progress;
  progress.phase("drawing with all passes");
  MaskJudge search_judge(*pipeline, pictures.search, &interrupted);
  MaskJudge last_judge(*pipeline, pictures.judge, &interrupted);
  INTAGLIO_TRY(search_judge.begin());
  INTAGLIO_TRY(last_judge.begin());
  out["masks"] = ordered_json::array();
  for (const double budget : budgets) {
    MaskSearch search{
        .budget = budget, .first_blocks = flags.first_blocks, .evaluations = flags.evaluations};
    search.progress = [&](int64_t done, double error) {
      progress.step(fmt::format("budget {:g}, error {:.4f}", budget, error), done,
                    flags.evaluations);
    };
    INTAGLIO_ASSIGN(FoundMask found, search_step_mask(search_judge, blocks, search));
    StepMask& mask = found.mask;
    mask.name = fmt::format("share-{:g}", budget);
    mask.preset = pictures.schedule.preset;
    if (found.cancelled) {
      put(std::move(mask), masks);
      INTAGLIO_TRY(write_file_atomic(file, step_masks_text(masks)));
      return make_error(ErrorCode::kCancelled,
                        "cancelled; the best of {} masks for a budget of {:g} is kept in {}",
                        found.evaluations, budget, file.string());
    }
    INTAGLIO_ASSIGN(mask.error, last_judge.error(mask));
    const Sampling& sampling = last_judge.sampling();
    INTAGLIO_ASSIGN(const double spread_error,
                    last_judge.error(spread_step_mask(sampling, budget)));
    const ordered_json description = mask_json(mask, mask.cost(sampling, blocks), spread_error);
    progress.clear();
    if (!json) print_mask(mask, *model, sampling, description);
    out["masks"].push_back(description);
    // What is found is kept, whatever becomes of the next budget.
    put(std::move(mask), masks);
    INTAGLIO_TRY(write_file_atomic(file, step_masks_text(masks)));
  }
  out["masks_file"] = file.string();
  if (!json) print(Stream::kOut, "kept in {}\n", file.string());
  return {};
}

}  // namespace intaglio::cli
