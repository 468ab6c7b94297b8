// `intaglio bench schemes`: how far each linear of a model is from its float form in int8, on what
// it reads while the model draws, by every scheme of `intaglio quantize`.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include "argument_values.h"
#include "bench/bench.h"
#include "console.h"
#include "interrupt.h"
#include "model_flags.h"
#include "models/registry.h"
#include "options.h"
#include "pipeline/device.h"
#include "quantize/fit.h"
#include "run_files.h"

namespace intaglio::cli {
namespace {

using nlohmann::ordered_json;

struct SchemesFlags {
  std::string model = "mini";
  std::optional<std::string> calibration, size;
  int64_t steps = 8;
  int threads = 0;
  std::string json;
};

struct Scheme {
  const char* name;
  FitOptions options;
};
constexpr int64_t kGroup = 256;
const Scheme kSchemes[] = {
    {"row", {}},
    {"smooth", {.smooth = true}},
    {"convrot", {.group = kGroup}},
    {"convrot+smooth", {.smooth = true, .group = kGroup}},
    {"convrot+smooth, gptq", {.smooth = true, .group = kGroup, .gptq = true}}};

// Where the weights of its transformers lie, by their number.
const char* const kFolders[] = {"transformer", "unconditional_transformer"};

ordered_json scheme_json(const Scheme& scheme, const std::vector<FittedLinear>& linears) {
  double sum = 0.0;
  const FittedLinear* worst = &linears.front();
  ordered_json all = ordered_json::array();
  for (const FittedLinear& one : linears) {
    sum += one.error;
    if (one.error > worst->error) worst = &one;
    all.push_back({{"names", one.linear.names},
                   {"error", one.error},
                   {"alpha", one.smooth.empty() ? ordered_json() : ordered_json(one.alpha)},
                   {"gain", one.gain}});
  }
  return {{"scheme", scheme.name},
          {"mean", sum / static_cast<double>(linears.size())},
          {"worst", worst->error},
          {"worst_linear", worst->linear.names},
          {"velocity_error", velocity_error(linears)},
          {"linears", all}};
}

Status run_schemes(const SchemesFlags& flags) {
  INTAGLIO_TRY(check_files({.outputs = {{"--json", flags.json}},
                            .inputs = {{"--calibration", flags.calibration.value_or("")}}}));
  INTAGLIO_ASSIGN(CalibrationOptions options,
                  calibration_options(flags.calibration, flags.steps, flags.size));
  INTAGLIO_ASSIGN(Context context, host_context(flags.threads));
  context.cancel = &interrupted;
  INTAGLIO_ASSIGN(const std::filesystem::path folder, resolve_model(flags.model));
  INTAGLIO_ASSIGN(const std::shared_ptr<const Model> model,
                  open_model(ModelPaths{.folder = folder}));
  Progress progress;
  INTAGLIO_ASSIGN(const Calibration calibration,
                  calibrate_with_progress(context, *model, options, progress));
  const Stream out = flags.json == "-" ? Stream::kErr : Stream::kOut;
  ordered_json results = ordered_json::array();
  for (int which = 0; which < model->transformers(); ++which) {
    INTAGLIO_ASSIGN(const auto checkpoint,
                    Checkpoint::open(folder / kFolders[static_cast<size_t>(which)]));
    const std::unique_ptr<Transformer> transformer = model->transformer(which, {});
    INTAGLIO_ASSIGN(const auto source, transformer->open_source(checkpoint));
    const std::vector<std::string> names = transformer->quantized_linears();
    for (const Scheme& scheme : kSchemes) {
      INTAGLIO_ASSIGN(
          const std::vector<FittedLinear> linears,
          fit_linears(context, *source, calibration.transformers[static_cast<size_t>(which)],
                      {names.begin(), names.end()}, scheme.options,
                      [&](int64_t done, int64_t all) { progress.step(scheme.name, done, all); }));
      progress.clear();
      ordered_json result = scheme_json(scheme, linears);
      result["part"] = model->transformer_name(which);
      print(out, "{:<26} {:<15} mean {:.4f}  worst {:.4f} ({})  velocity {:.4f}\n",
            model->transformer_name(which), scheme.name, result["mean"].get<double>(),
            result["worst"].get<double>(),
            fmt::join(result["worst_linear"].get<std::vector<std::string>>(), " + "),
            result["velocity_error"].get<double>());
      results.push_back(std::move(result));
    }
  }
  if (flags.json.empty()) return {};
  return write_result(flags.json, {{"benchmark", "schemes"},
                                   {"machine", machine_json(context)},
                                   {"model", flags.model},
                                   {"prompts", options.prompts},
                                   {"steps", flags.steps},
                                   {"size", flags.size ? ordered_json(*flags.size) : nullptr},
                                   {"group", kGroup},
                                   {"results", results}});
}

}  // namespace

void add_bench_schemes(CLI::App& bench, Action& action) {
  auto flags = std::make_shared<SchemesFlags>();
  CLI::App* command = bench.add_subcommand(
      "schemes", "Errors of a model's int8 linears by each scheme of quantize; times nothing");
  command
      ->add_option("--model", flags->model,
                   "Folder of a model, owner/name in the Hugging Face cache, or \"mini\"")
      ->capture_default_str();
  command
      ->add_option("--calibration", flags->calibration,
                   "Prompts, one a line; by default those that come with the program")
      ->type_name("FILE|-");
  limit(command->add_option("--calibration-steps", flags->steps, "Sampling steps of each prompt"),
        1, 1000)
      ->capture_default_str();
  add_calibration_size(*command, flags->size);
  add_threads_flag(*command, flags->threads);
  command->add_option("--json", flags->json, "Write the result as JSON to a file; - for stdout")
      ->type_name("FILE|-");
  command->footer(
      "A linear's error is that of its output, relative, over rows that it read while the model "
      "drew "
      "in floats.\n"
      "Example:\n"
      "  intaglio bench schemes --model mini --json schemes.json");
  command->callback([flags, &action] {
    action = [flags] {
      const Status status = run_schemes(*flags);
      return status ? kExitOk : fail(status.error(), false);
    };
  });
}

}  // namespace intaglio::cli
