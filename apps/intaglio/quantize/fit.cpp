#include "quantize/fit.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>

#include "argument_values.h"
#include "io/printable.h"
#include "models/calibration_prompts.h"
#include "options.h"
#include "prompts.h"

namespace intaglio::cli {
namespace {

using nlohmann::ordered_json;

// Where --protect auto is given no budget: twice what rounding leaves of rows without outliers
// (docs/numerics.md).
constexpr double kDefaultError = 0.02;

Expected<ProtectionBudget> parse_budget(const std::string& text) {
  double error = 0.0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), error);
  if (problem == std::errc() && end == text.data() + text.size() && error > 0.0 && error < 1.0)
    return ProtectionBudget{.error = error};
  std::string size = text;
  if (size.size() > 2 && (size.back() == 'B' || size.back() == 'b')) size.pop_back();
  if (const Expected<uint64_t> bytes = parse_memory("--budget", size))
    return ProtectionBudget{.bytes = *bytes};
  return make_error(ErrorCode::kInvalidArgument,
                    "--budget: expected a size such as 6G, or a largest relative error between 0 "
                    "and 1 such as 0.01, found \"{}\"",
                    printable(text, 60));
}

std::string joined(const std::vector<std::string>& names) {
  return fmt::format("{}", fmt::join(names, " + "));
}

// By what they take of the velocity's error, the largest first.
std::vector<const FittedLinear*> by_share(const FittedPart& part) {
  std::vector<const FittedLinear*> sorted;
  for (const FittedLinear& one : part.linears) sorted.push_back(&one);
  std::stable_sort(sorted.begin(), sorted.end(), [](const FittedLinear* a, const FittedLinear* b) {
    return a->share() > b->share();
  });
  return sorted;
}

Expected<FittedPart> fit_part(const Context& context, const Model& model, const FitRequest& request,
                              Calibration& calibration, FittedPart part, Progress& progress) {
  INTAGLIO_ASSIGN(const CheckpointQuantizer plain,
                  CheckpointQuantizer::plan(part.checkpoint, part.options));
  const std::map<std::string, uint64_t> growth = plain.quantized();
  std::set<std::string> quantized;
  for (const auto& [name, bytes] : growth) quantized.insert(name);
  INTAGLIO_ASSIGN(const auto source,
                  model.transformer(part.transformer, {})->open_source(part.checkpoint));
  auto& linears = calibration.transformers[static_cast<size_t>(part.transformer)];
  INTAGLIO_ASSIGN(part.linears, fit_linears(context, *source, linears, quantized, request.options,
                                            [&](int64_t done, int64_t all) {
                                              progress.step("fitting", done, all);
                                            }));
  for (FittedLinear& one : part.linears)
    for (const std::string& name : one.linear.names) one.growth += growth.at(name);
  if (!request.options.gptq) return part;
  for (CalibratedLinear& one : linears) {
    if (one.kept == 0) continue;
    const auto rows = std::make_shared<const std::vector<float>>(std::move(one.rows));
    for (const std::string& name : one.linear.names) part.options.inputs.emplace(name, rows);
  }
  return part;
}

// What the figures make of the part's options.
Status settle(const Model& model, const FitRequest& request, FittedPart& part) {
  INTAGLIO_ASSIGN(const CheckpointQuantizer plain,
                  CheckpointQuantizer::plan(part.checkpoint, part.options));
  std::set<std::string> quantized;
  for (const auto& [name, bytes] : plain.quantized()) quantized.insert(name);
  for (const FittedLinear& one : part.linears)
    if (one.is_protected)
      part.options.keep.insert(part.options.keep.end(), one.linear.names.begin(),
                               one.linear.names.end());
  if (!request.options.smooth) return {};
  INTAGLIO_ASSIGN(const auto source,
                  model.transformer(part.transformer, {})->open_source(part.checkpoint));
  INTAGLIO_ASSIGN(FoldedSmoothing folded, fold(*source, part.linears, quantized));
  part.options.smoothing = std::make_shared<const FoldedSmoothing>(std::move(folded));
  return {};
}

}  // namespace

std::vector<std::string> FitFlags::patterns() const {
  const bool is_word = is_auto() || (protect.size() == 1 && protect.front() == "none");
  return is_word ? std::vector<std::string>() : protect;
}

void add_fit_flags(CLI::App& command, FitFlags& flags) {
  command
      .add_option("--protect,--keep", flags.protect,
                  "Linears that stay floats: none; auto, by their errors over a calibration; or "
                  "names with * for any characters, e.g. 'layers.*.feed_forward.w2', several by "
                  "commas")
      ->delimiter(',')
      ->type_name("auto|none|PATTERN");
  command
      .add_option(
          "--budget", flags.budget,
          fmt::format("Of --protect auto: a size of all that is written, such as 6G, or the "
                      "largest relative error of a linear, such as 0.01; by default {}",
                      kDefaultError))
      ->type_name("SIZE|ERROR");
  choose_from(command.add_option(
                  "--rounding", flags.rounding,
                  "Of weights to int8: nearest, or gptq, which makes up for what rounding a column "
                  "changes by the columns that follow, on rows of a calibration"),
              {"nearest", "gptq"})
      ->capture_default_str();
  command
      .add_option("--calibration", flags.calibration,
                  "Prompts to calibrate with, one a line; - for standard input; by default some "
                  "that come with the program")
      ->type_name("FILE|-");
  limit(command.add_option(
            "--calibration-steps", flags.steps,
            fmt::format("Sampling steps of each prompt; by default {}", FitFlags::kSteps)),
        1, 1000);
  add_calibration_size(command, flags.calibration_size);
  command
      .add_option("--calibration-model", flags.calibration_model,
                  "The model that a lone transformer is calibrated in")
      ->type_name("MODEL");
}

void add_calibration_size(CLI::App& command, std::optional<std::string>& size) {
  command
      .add_option("--calibration-size", size,
                  "Pixels of each picture; by default the model's own, up to 512x512")
      ->type_name("WxH");
}

Expected<CalibrationOptions> calibration_options(const std::optional<std::string>& prompts,
                                                 int64_t steps,
                                                 const std::optional<std::string>& size) {
  CalibrationOptions options{.steps = steps, .width = 0, .height = 0};
  if (size) {
    INTAGLIO_ASSIGN(const PictureSize pixels, parse_size(*size, "--calibration-size"));
    options.width = pixels.width;
    options.height = pixels.height;
  }
  if (!prompts) {
    options.prompts.assign(std::begin(kCalibrationPrompts), std::end(kCalibrationPrompts));
    return options;
  }
  INTAGLIO_ASSIGN(options.prompts, read_bare_prompts(*prompts));
  return options;
}

Expected<FitRequest> fit_request(const FitFlags& flags, bool smooth, int64_t group) {
  FitRequest request{
      .options = {.smooth = smooth, .group = group}, .calibration = {}, .budget = {}};
  request.protects = flags.is_auto();
  request.options.gptq = flags.rounding == "gptq";
  if (flags.budget && !request.protects)
    return make_error(ErrorCode::kInvalidArgument, "--budget: only --protect auto has one");
  if (flags.budget) {
    INTAGLIO_ASSIGN(request.budget, parse_budget(*flags.budget));
  } else if (request.protects) {
    request.budget.error = kDefaultError;
  }
  if (!request.is_needed()) {
    const char* const flag = flags.calibration         ? "--calibration"
                             : flags.steps             ? "--calibration-steps"
                             : flags.calibration_size  ? "--calibration-size"
                             : flags.calibration_model ? "--calibration-model"
                                                       : nullptr;
    if (flag == nullptr) return request;
    return make_error(ErrorCode::kInvalidArgument,
                      "{}: nothing is calibrated without a scheme that smooths, --protect auto or "
                      "--rounding gptq",
                      flag);
  }
  INTAGLIO_ASSIGN(request.calibration,
                  calibration_options(flags.calibration, flags.steps.value_or(FitFlags::kSteps),
                                      flags.calibration_size));
  return request;
}

Expected<Calibration> calibrate_with_progress(const Context& context, const Model& model,
                                              CalibrationOptions options, Progress& progress) {
  constexpr int64_t kMostSide = 512;
  const ModelInfo& info = model.info();
  const auto side = [&](int64_t pixels) {
    return std::min(pixels, kMostSide) / info.pixels_per_token * info.pixels_per_token;
  };
  if (options.width == 0) {
    options.width = side(info.default_width);
    options.height = side(info.default_height);
  }
  progress.phase("loading the model to calibrate with");
  return calibrate(context, model, options,
                   [&](int64_t done, int64_t all) { progress.step("calibrating", done, all); });
}

Status fit_parts(const Context& context, const Model& model, const FitRequest& request,
                 uint64_t other, std::vector<FittedPart>& parts, Progress& progress) {
  uint64_t bytes = other;
  for (const FittedPart& part : parts) {
    INTAGLIO_ASSIGN(const CheckpointQuantizer plain,
                    CheckpointQuantizer::plan(part.checkpoint, part.options));
    bytes += plain.bytes();
  }
  INTAGLIO_TRY(protect({}, request.budget, bytes));  // what cannot be is known before any work
  INTAGLIO_ASSIGN(Calibration calibration,
                  calibrate_with_progress(context, model, request.calibration, progress));
  std::vector<FittedLinear*> all;
  for (FittedPart& part : parts) {
    INTAGLIO_ASSIGN(part,
                    fit_part(context, model, request, calibration, std::move(part), progress));
    for (FittedLinear& one : part.linears) all.push_back(&one);
  }
  progress.clear();
  if (request.protects) INTAGLIO_TRY(protect(all, request.budget, bytes));
  for (FittedPart& part : parts) INTAGLIO_TRY(settle(model, request, part));
  return {};
}

ordered_json fit_json(const FittedPart& part) {
  ordered_json linears = ordered_json::array();
  for (const FittedLinear* const one : by_share(part)) {
    linears.push_back({{"names", one->linear.names},
                       {"protected", one->is_protected},
                       {"error", one->error},
                       {"unsmoothed_error", one->unsmoothed_error},
                       {"alpha", one->smooth.empty() ? ordered_json() : ordered_json(one->alpha)},
                       {"gain", one->gain},
                       {"velocity_error", one->share()},
                       {"growth_bytes", one->growth}});
  }
  return {{"velocity_error", velocity_error(part.linears)}, {"linears", linears}};
}

std::string fit_text(const FittedPart& part) {
  double sum = 0.0;
  int64_t count = 0;
  const FittedLinear* worst = nullptr;
  std::string protected_lines;
  for (const FittedLinear* const one : by_share(part)) {
    if (one->is_protected) {
      protected_lines +=
          fmt::format("  stays float: {}, its error {:.4f}, of the velocity {:.4f}\n",
                      joined(one->linear.names), one->error, one->share());
      continue;
    }
    sum += one->error;
    ++count;
    if (worst == nullptr || one->error > worst->error) worst = one;
  }
  std::string text = protected_lines;
  if (worst != nullptr) {
    text += fmt::format(
        "  error of an int8 linear: mean {:.4f}, worst {:.4f} ({}); expected of the velocity: "
        "{:.4f}\n",
        sum / static_cast<double>(count), worst->error, joined(worst->linear.names),
        velocity_error(part.linears));
  }
  return text;
}

}  // namespace intaglio::cli
