// `intaglio bench image`: whole pictures at a known model's sizes with random weights, from token
// ids to a PNG file, phase by phase.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>
#include <memory>

#include "advice/choose_parallel.h"
#include "argument_values.h"
#include "bench/bench.h"
#include "command.h"
#include "console.h"
#include "core/memory_info.h"
#include "interrupt.h"
#include "lora_flags.h"
#include "model_flags.h"
#include "options.h"
#include "pipeline/pipeline.h"
#include "run_files.h"

namespace intaglio::cli {
namespace {

using Clock = std::chrono::steady_clock;

struct ImageFlags {
  ModelFlags model{.model = "synthetic:ideogram4"};
  std::string device = "auto", parallel = "off", precision = "int8", attention = "auto";
  std::vector<std::string> sizes{"1024x1024"};
  std::vector<int64_t> text_tokens{512}, steps{48};
  int count = 3, threads = 0;
  std::optional<std::string> vram_budget, devices;
  std::vector<std::string> loras;
  std::string json;
};

// Of a picture, in its order; the last is the whole.
constexpr std::array<const char*, 6> kPhases{"text", "prepare", "sample", "decode", "png", "total"};
using PhaseTimes = std::array<double, kPhases.size()>;

// One kind of picture.
struct Case {
  PictureSize size;
  int64_t text_tokens = 0, steps = 0;
};

double since_ms(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

Expected<std::vector<Case>> cases_of(const ImageFlags& flags, const ModelInfo& info) {
  std::vector<Case> cases;
  for (const std::string& text : flags.sizes) {
    INTAGLIO_ASSIGN(const PictureSize size, parse_size(text));
    INTAGLIO_TRY(check_size(size, info.pixels_per_token));
    for (const int64_t tokens : flags.text_tokens)
      for (const int64_t steps : flags.steps) cases.push_back({size, tokens, steps});
  }
  return cases;
}

// `seed` also picks the text tokens: no two pictures share text features.
PictureRequest request_of(const ModelInfo& model, const Case& c, uint64_t seed) {
  constexpr int32_t kIds = 1000;  // every vocabulary has as many
  PictureRequest request;
  request.token_ids.emplace(static_cast<size_t>(c.text_tokens));
  for (size_t i = 0; i < request.token_ids->size(); ++i)
    (*request.token_ids)[i] = static_cast<int32_t>((seed * 7919 + i * 104729) % kIds);
  request.width = c.size.width;
  request.height = c.size.height;
  request.steps = c.steps;
  request.seed = seed;
  request.guidance = model.default_guidance.of_steps(c.steps);
  return request;
}

// Of what takes longest a step.
PictureRequest largest_request(const ModelInfo& model, const std::vector<Case>& cases) {
  const auto tokens = [&](const Case& c) {
    const int64_t unit = model.pixels_per_token;
    return (c.size.width / unit) * (c.size.height / unit) + c.text_tokens;
  };
  return request_of(
      model,
      *std::max_element(cases.begin(), cases.end(),
                        [&](const Case& a, const Case& b) { return tokens(a) < tokens(b); }),
      0);
}

Expected<PhaseTimes> time_picture(Pipeline& pipeline, const PicturePlan& plan,
                                  const std::filesystem::path& file) {
  PhaseTimes times{};
  const Clock::time_point begin = Clock::now();
  INTAGLIO_ASSIGN(const Picture picture, pipeline.generate(plan, {}, &interrupted));
  const Clock::time_point png = Clock::now();
  INTAGLIO_TRY(write_png(file, picture.image, {}));
  const auto phase = [&](Phase p) { return picture.phase_ms[static_cast<size_t>(p)]; };
  // What is loaded again because it was dropped to make room is part of a picture.
  times = {phase(Phase::kLoadText) + phase(Phase::kText),
           phase(Phase::kLoadTransformers) + phase(Phase::kPrepare),
           phase(Phase::kDenoise),
           phase(Phase::kLoadVae) + phase(Phase::kDecode),
           phase(Phase::kFinish) + since_ms(png),
           since_ms(begin)};
  return times;
}

struct CaseResult {
  std::array<Spread, kPhases.size()> phases;
  uint64_t planned_bytes = 0, taken_bytes = 0;
  uint64_t second_planned_bytes = 0, second_taken_bytes = 0;  // of the second device
  uint64_t rank_planned_bytes = 0;  // of the one that takes most of those that share passes
};

// `seed` is that of the first picture and becomes that of the next case's.
Expected<CaseResult> run_case(Pipeline& pipeline, const Case& c, int count, uint64_t& seed,
                              const std::filesystem::path& file) {
  CaseResult result;
  std::array<std::vector<double>, kPhases.size()> times;
  for (int i = 0; i <= count; ++i) {
    INTAGLIO_ASSIGN(const PicturePlan plan, pipeline.plan(request_of(pipeline.info(), c, seed++)));
    result.planned_bytes = plan.peak_bytes();
    result.second_planned_bytes = plan.second_peak_bytes();
    result.rank_planned_bytes = plan.rank_peak_bytes();
    INTAGLIO_ASSIGN(const PhaseTimes picture, time_picture(pipeline, plan, file));
    if (i == 0) continue;  // the first one loads and warms up
    for (size_t p = 0; p < kPhases.size(); ++p) times[p].push_back(picture[p]);
  }
  for (size_t p = 0; p < kPhases.size(); ++p) result.phases[p] = spread_of(times[p]);
  return result;
}

// What the devices have free before a case and after one.
struct FreeBytes {
  uint64_t first = 0, second = 0;
};
Expected<FreeBytes> free_bytes(const Pipeline& pipeline) {
  FreeBytes free;
  INTAGLIO_ASSIGN(free.first, available_device_bytes(pipeline.context()));
  if (const Context* second = pipeline.second_context(); second != nullptr) {
    INTAGLIO_ASSIGN(free.second, on_device(*second, pipeline.context(),
                                           [&] { return available_device_bytes(*second); }));
  }
  return free;
}

// Of the devices' memory once a case is done; on a CPU the process's peak so far.
Status take_bytes(const Pipeline& pipeline, const FreeBytes& before, CaseResult& result) {
  result.taken_bytes = peak_resident_bytes();
  if (pipeline.context().gpu == nullptr) return {};
  INTAGLIO_ASSIGN(const FreeBytes after, free_bytes(pipeline));
  result.taken_bytes = before.first - std::min(before.first, after.first);
  result.second_taken_bytes = before.second - std::min(before.second, after.second);
  return {};
}

void print_case(Stream out, const Case& c, const CaseResult& r) {
  print(out, "{:>11} {:>6} {:>6}", fmt::format("{}x{}", c.size.width, c.size.height), c.text_tokens,
        c.steps);
  for (const Spread& spread : r.phases) print(out, " {:>10.1f}", spread.median);
  print(out, "  {:>9} {:>9}", format_bytes(r.planned_bytes), format_bytes(r.taken_bytes));
  if (r.second_planned_bytes > 0)
    print(out, "  {:>9} {:>9}", format_bytes(r.second_planned_bytes),
          format_bytes(r.second_taken_bytes));
  print(out, "\n");
}

nlohmann::ordered_json case_json(const Case& c, const CaseResult& r) {
  nlohmann::ordered_json phases;
  for (size_t p = 0; p < kPhases.size(); ++p) {
    phases[kPhases[p]] = {{"median_ms", r.phases[p].median},
                          {"min_ms", r.phases[p].min},
                          {"max_ms", r.phases[p].max}};
  }
  nlohmann::ordered_json json{
      {"width", c.size.width},        {"height", c.size.height}, {"steps", c.steps},
      {"text_tokens", c.text_tokens}, {"phases", phases},        {"planned_bytes", r.planned_bytes},
      {"taken_bytes", r.taken_bytes}};
  if (r.second_planned_bytes > 0) {
    json["second_planned_bytes"] = r.second_planned_bytes;
    json["second_taken_bytes"] = r.second_taken_bytes;
  }
  if (r.rank_planned_bytes > 0) json["rank_planned_bytes"] = r.rank_planned_bytes;
  return json;
}

Expected<PipelineOptions> pipeline_options(const ImageFlags& flags, const DeviceChoice& devices) {
  PipelineOptions options;
  use_devices(options, devices);
  options.selection.precision = precision_from_name(flags.precision).value_or(Precision::kInt8);
  INTAGLIO_ASSIGN(options.attention, parse_attention(flags.attention));
  options.threads = flags.threads;
  if (flags.vram_budget) {
    INTAGLIO_ASSIGN(options.vram_budget, parse_memory("--vram-budget", *flags.vram_budget));
  }
  for (const std::string& lora : flags.loras) {
    INTAGLIO_ASSIGN(AdapterUse use, open_lora(lora));
    options.adapters.push_back(std::move(use));
  }
  return options;
}

Status run_cases(Pipeline& pipeline, const ImageFlags& flags, const std::vector<Case>& cases,
                 const std::filesystem::path& file) {
  INTAGLIO_ASSIGN(const FreeBytes free_before, free_bytes(pipeline));
  uint64_t seed = 0;
  Stream out = flags.json == "-" ? Stream::kErr : Stream::kOut;
  const Context* const second = pipeline.second_context();
  print(out, "{} at {}, on {}; medians of {} pictures after one more, ms\n", pipeline.info().name,
        flags.precision, device_names(pipeline.context(), pipeline.other_contexts()), flags.count);
  print(out, "{:>11} {:>6} {:>6}", "pixels", "text", "steps");
  for (const char* phase : kPhases) print(out, " {:>10}", phase);
  print(out, "  {:>9} {:>9}{}\n", "planned", "taken",
        second != nullptr ? fmt::format("  {:>9} {:>9}", "second", "taken") : "");
  nlohmann::ordered_json results = nlohmann::ordered_json::array();
  for (const Case& c : cases) {
    INTAGLIO_ASSIGN(CaseResult result, run_case(pipeline, c, flags.count, seed, file));
    INTAGLIO_TRY(take_bytes(pipeline, free_before, result));
    print_case(out, c, result);
    results.push_back(case_json(c, result));
  }
  if (flags.json.empty()) return {};
  nlohmann::ordered_json json{{"benchmark", "image"},
                              {"machine", machine_json(pipeline.context())}};
  json["device"] = device_name(pipeline.context());
  if (second != nullptr) json["second_device"] = device_name(*second);
  for (const Context* rank : pipeline.rank_contexts())
    json["rank_devices"].push_back(device_name(*rank));
  json["model"] = pipeline.info().name;
  json["precision"] = flags.precision;
  json["attention"] = flags.attention;
  if (!flags.loras.empty()) json["lora"] = flags.loras;
  json["pictures"] = flags.count;
  json["results"] = std::move(results);
  return write_result(flags.json, json);
}

Status run_image(const ImageFlags& flags) {
  INTAGLIO_ASSIGN(const std::shared_ptr<const Model> model, open_model(flags.model));
  NamedFiles files{.outputs = {{"--json", flags.json}}, .inputs = {}};
  for (const std::filesystem::path& file : model->files())
    files.inputs.emplace_back("a file of the model", file.string());
  INTAGLIO_TRY(check_files(files));
  INTAGLIO_ASSIGN(const std::vector<Case> cases, cases_of(flags, model->info()));
  INTAGLIO_ASSIGN(const DeviceChoice devices,
                  parse_devices(flags.device, flags.devices, flags.parallel));
  INTAGLIO_ASSIGN(PipelineOptions options, pipeline_options(flags, devices));
  if (!devices.undecided.empty()) {
    INTAGLIO_ASSIGN(ChosenParallel chosen, choose_parallel(model, options, devices.undecided,
                                                           largest_request(model->info(), cases)));
    print(Stream::kErr, "parallel {}\n", chosen.reason);
    options = std::move(chosen.options);
  }
  INTAGLIO_ASSIGN(const std::unique_ptr<Pipeline> pipeline, Pipeline::open(model, options));
  const std::filesystem::path file =
      std::filesystem::temp_directory_path() / fmt::format("intaglio-bench-{}.png", ::getpid());
  const Status status = run_cases(*pipeline, flags, cases, file);
  std::error_code ignored;
  std::filesystem::remove(file, ignored);
  return status;
}

}  // namespace

void add_bench_image(CLI::App& bench, Action& action) {
  auto flags = std::make_shared<ImageFlags>();
  CLI::App* command =
      bench.add_subcommand("image", "Whole pictures with random weights, phase by phase");
  command
      ->add_option("--device", flags->device,
                   "cpu, cuda, cuda:N, or auto, the first GPU if there is one")
      ->type_name("DEVICE")
      ->capture_default_str();
  add_devices_flag(*command, flags->devices);
  add_parallel_flag(*command, flags->parallel);
  command->add_option("--model", flags->model.model, "A model as `generate` takes it")
      ->capture_default_str();
  add_part_flags(*command, flags->model);
  add_precision_flag(*command, flags->precision);
  add_lora_flag(*command, flags->loras);
  add_attention_flag(*command, flags->attention);
  command->add_option("--size", flags->sizes, "Pixels; several by commas")
      ->delimiter(',')
      ->type_name("WxH")
      ->capture_default_str();
  limit(
      command->add_option("--text-tokens", flags->text_tokens, "Of the prompt; several by commas"),
      1, 2048)
      ->delimiter(',')
      ->capture_default_str();
  limit(command->add_option("--steps", flags->steps, "Sampling steps; several by commas"), 1, 1000)
      ->delimiter(',')
      ->capture_default_str();
  limit(command->add_option("--count", flags->count, "Timed pictures of each kind"), 1, 1000)
      ->capture_default_str();
  command
      ->add_option("--vram-budget", flags->vram_budget,
                   "Memory of the GPU to work in, as for `generate`")
      ->type_name("SIZE");
  add_threads_flag(*command, flags->threads);
  command->add_option("--json", flags->json, "Write the result as JSON to a file; - for stdout")
      ->type_name("FILE|-");
  command->footer(
      "Every picture has a prompt of its own, so its text is encoded. The pictures are noise; "
      "their "
      "times are those of real ones.\n"
      "Examples:\n"
      "  intaglio bench image\n"
      "  intaglio bench image --size 768x768,1024x1024 --text-tokens 64,512\n"
      "  intaglio bench image --steps 12,24,48 --json image.json\n"
      "  intaglio bench image --devices 0,1\n"
      "  intaglio bench image --model synthetic:mini --size 256x256 --steps 4");
  command->callback([flags, &action] {
    action = [flags] {
      const Status status = run_image(*flags);
      return status ? kExitOk : fail(status.error(), flags->json == "-");
    };
  });
}

}  // namespace intaglio::cli
