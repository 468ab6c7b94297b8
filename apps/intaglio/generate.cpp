// `intaglio generate`: a prompt becomes PNG files.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <limits>
#include <memory>
#include <random>

#include "choose_precision.h"
#include "command.h"
#include "core/memory_info.h"
#include "interrupt.h"
#include "io/printable.h"
#include "options.h"
#include "picture_files.h"
#include "pipeline/pipeline.h"
#include "pipeline/schedule.h"
#include "progress.h"

namespace intaglio::cli {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

struct GenerateFlags {
  RunFlags run;
  std::string model = "mini";
  std::string prompt, output, noise, latents_out, features_out;
  std::string memory_limit;
  int64_t steps = 0;  // 0: the model's default
  int64_t count = 1;
  std::optional<std::string> seed, size, guidance, vram_budget;
};

// Everything that can be known before the first weight is read.
struct Plan {
  std::unique_ptr<Pipeline> pipeline;
  Precision precision = Precision::kInt8;
  PictureRequest request;
  std::shared_ptr<const ModelSource> model;
  std::vector<fs::path> pictures;
};

double since_ms(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

// The error of `expected` joins the list; otherwise its value goes to `target`.
template <typename T, typename U>
void take(Expected<T> expected, U& target, std::vector<Error>& errors) {
  if (expected) {
    target = std::move(*expected);
  } else {
    errors.push_back(expected.error());
  }
}

void note(const Status& status, std::vector<Error>& errors) {
  if (!status) errors.push_back(status.error());
}

void plan_files(const GenerateFlags& flags, Plan& plan, std::vector<Error>& errors) {
  take(picture_paths(flags.output, plan.request.seed, flags.count), plan.pictures, errors);
  if (!plan.pictures.empty()) note(check_writable(plan.pictures.front()), errors);
  for (const std::string& file : {flags.latents_out, flags.features_out}) {
    if (!file.empty()) note(check_writable(file), errors);
  }
  if (!flags.noise.empty() && flags.count > 1) {
    errors.push_back(
        {ErrorCode::kInvalidArgument, "--noise: gives one picture, --count must be 1"});
  }
}

// Size, steps and guidance: the flags, else the model's defaults.
void plan_request(const GenerateFlags& flags, const std::optional<PictureSize>& size,
                  std::vector<float> guidance, Plan& plan, std::vector<Error>& errors) {
  const ModelInfo& info = plan.model->info();
  PictureRequest& request = plan.request;
  request.width = size ? size->width : info.default_width;
  request.height = size ? size->height : info.default_height;
  request.steps = flags.steps > 0 ? flags.steps : info.default_steps;
  const Status fits = check_size({request.width, request.height}, info.pixels_per_token);
  note(fits, errors);
  if (guidance.empty())
    guidance =
        info.default_guidance.empty() ? default_guidance(request.steps) : info.default_guidance;
  if (guidance.size() != 1 && static_cast<int64_t>(guidance.size()) != request.steps) {
    errors.push_back({ErrorCode::kInvalidArgument,
                      fmt::format("--guidance: {} values for {} steps; expected 1, or one a step",
                                  guidance.size(), request.steps)});
  } else {
    take(guidance_schedule(guidance, request.steps), request.guidance, errors);
  }
  if (!flags.noise.empty() && fits) {
    const int64_t tokens =
        (request.width / info.pixels_per_token) * (request.height / info.pixels_per_token);
    take(read_noise(flags.noise, tokens, info.latent_channels), request.noise, errors);
  }
}

// `--precision auto`.
void choose(const PipelineOptions& options, Plan& plan, std::vector<Error>& errors) {
  Expected<ChosenPrecision> chosen = choose_precision(plan.model, options, plan.request);
  if (!chosen) {
    errors.push_back(chosen.error());
    return;
  }
  plan.pipeline = std::move(chosen->pipeline);
  plan.precision = chosen->precision;
  fmt::print(stderr, "precision {}\n", chosen->reason);
}

// Collects every problem, so that a user corrects them all at once.
Plan make_plan(const GenerateFlags& flags, std::vector<Error>& errors) {
  Plan plan;
  plan.request.seed = std::random_device{}();
  if (flags.seed) take(parse_seed(*flags.seed), plan.request.seed, errors);
  if (plan.request.seed >
      std::numeric_limits<uint64_t>::max() - static_cast<uint64_t>(flags.count - 1)) {
    errors.push_back({ErrorCode::kInvalidArgument, "--seed: too large for --count pictures"});
  }
  std::optional<PictureSize> size;
  std::vector<float> guidance;
  if (flags.size) take(parse_size(*flags.size), size, errors);
  if (flags.guidance) take(parse_guidance(*flags.guidance), guidance, errors);
  take(read_prompt(flags.prompt), plan.request.prompt, errors);
  plan_files(flags, plan, errors);
  take(open_model(flags.model), plan.model, errors);
  PipelineOptions options;
  take(parse_device(flags.run.device), options.gpu, errors);
  if (!flags.memory_limit.empty())
    take(parse_memory("--memory-limit", flags.memory_limit), options.memory_limit, errors);
  if (flags.vram_budget)
    take(parse_memory("--vram-budget", *flags.vram_budget), options.vram_budget, errors);
  if (plan.model == nullptr) return plan;

  plan_request(flags, size, std::move(guidance), plan, errors);
  const std::optional<Precision> precision = precision_from_name(flags.run.precision);
  options.selection.precision = precision.value_or(Precision::kInt8);
  options.selection.keep_bf16 = flags.run.keep_bf16;
  options.threads = flags.run.threads;
  plan.precision = options.selection.precision;
  if (precision) {
    take(Pipeline::open(plan.model, options), plan.pipeline, errors);
  } else if (errors.empty()) {
    choose(options, plan, errors);
  }
  return plan;
}

std::string_view phase_label(Phase phase) {
  switch (phase) {
    case Phase::kLoadText:
      return "loading the text encoder";
    case Phase::kText:
      return "reading the prompt";
    case Phase::kLoadTransformers:
      return "loading the transformers";
    case Phase::kPrepare:
      return "preparing";
    case Phase::kDenoise:
      return "sampling";
    case Phase::kLoadVae:
      return "loading the VAE";
    case Phase::kDecode:
    case Phase::kFinish:
      return "decoding";
  }
  return "working";
}

// Turns the pipeline's reports into the bar: steps for sampling, a phase's name once for the rest.
ProgressCallback show(Progress& progress, std::string prefix) {
  return [&progress, prefix = std::move(prefix), last = -1](const PictureProgress& report) mutable {
    const std::string label = prefix + std::string(phase_label(report.phase));
    const bool first = last != static_cast<int>(report.phase);
    last = static_cast<int>(report.phase);
    if (report.phase == Phase::kDenoise) {
      if (first && report.done > 0) progress.step(label, 0, report.total);
      progress.step(label, report.done, report.total);
    } else if (first) {
      progress.phase(label);
    } else if (progress.redraws() && report.total > 1) {
      progress.step(label, report.done, report.total);
    }
  };
}

nlohmann::ordered_json picture_json(const fs::path& file, const PictureRequest& request,
                                    const Picture& picture, double total_ms) {
  nlohmann::ordered_json phases;
  for (size_t i = 0; i < kPhaseNames.size(); ++i)
    phases[std::string(kPhaseNames[i])] = picture.phase_ms[i];
  nlohmann::ordered_json json{{"file", file.string()}};
  json["seed"] =
      request.noise ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(request.seed);
  json["text_tokens"] = picture.text_tokens;
  json["image_tokens"] = picture.image_tokens;
  if (picture.streamed_layers > 0) {
    json["streamed_layers"] = picture.streamed_layers;
    json["streamed_bytes_per_step"] = picture.streamed_bytes;
  }
  json["phase_ms"] = phases;
  json["step_ms"] = picture.step_ms;
  json["total_ms"] = total_ms;
  return json;
}

Status write_tensors(const GenerateFlags& flags, const PngText& text, const Picture& picture,
                     int64_t index) {
  std::map<std::string, std::string> metadata(text.begin(), text.end());
  metadata.erase("parameters");
  if (!flags.latents_out.empty()) {
    INTAGLIO_TRY(write_matrix(numbered(flags.latents_out, index, flags.count), "latents",
                              picture.latents, picture.image_tokens, picture.latent_channels,
                              metadata));
  }
  // All pictures of a call share one prompt.
  if (!flags.features_out.empty() && index == 0) {
    INTAGLIO_TRY(write_matrix(flags.features_out, "features", picture.features, picture.text_tokens,
                              picture.feature_dim, {{"prompt", metadata["prompt"]}}));
  }
  return {};
}

// Generates and writes all pictures; their JSON goes to `pictures`.
Status run_plan(const GenerateFlags& flags, Plan& plan, const std::string& hash, Progress& progress,
                nlohmann::ordered_json& pictures) {
  for (int64_t i = 0; i < flags.count; ++i) {
    PictureRequest request = plan.request;
    request.seed += static_cast<uint64_t>(i);
    request.keep_features = !flags.features_out.empty() && i == 0;
    const Clock::time_point start = Clock::now();
    const std::string prefix = flags.count > 1 ? fmt::format("[{}/{}] ", i + 1, flags.count) : "";
    INTAGLIO_ASSIGN(const Picture picture,
                    plan.pipeline->generate(request, show(progress, prefix), &interrupted));
    progress.clear();
    if (interrupted) return make_error(ErrorCode::kCancelled, "cancelled");
    const fs::path& file = plan.pictures[static_cast<size_t>(i)];
    const PngText text =
        picture_text(request, plan.model->info().name, hash, precision_name(plan.precision));
    INTAGLIO_TRY(write_png(file, picture.image, text));
    INTAGLIO_TRY(write_tensors(flags, text, picture, i));
    const double total_ms = since_ms(start);
    pictures.push_back(picture_json(file, request, picture, total_ms));
    progress.line(fmt::format(
        "{}wrote {} ({}x{}, seed {}, {})", prefix, file.string(), request.width, request.height,
        request.noise ? "none" : std::to_string(request.seed), format_duration(total_ms / 1000)));
    if (!flags.run.json) {
      fmt::print("{}\n", file.string());
      std::fflush(stdout);
    }
  }
  return {};
}

int run_generate(const GenerateFlags& flags) {
  install_interrupt_handler();
  const Clock::time_point start = Clock::now();
  std::vector<Error> errors;
  Plan plan = make_plan(flags, errors);
  if (interrupted) return fail(Error{ErrorCode::kCancelled, "cancelled"}, flags.run.json);
  if (!errors.empty()) return fail(errors, flags.run.json);
  const double open_ms = since_ms(start);

  // The plan's memory is checked before the weights are read, also for the hash.
  const Expected<PicturePlan> planned = plan.pipeline->plan(plan.request);
  if (!planned) return fail(planned.error(), flags.run.json);
  Progress progress;
  progress.phase("hashing the weights");
  const Clock::time_point hash_start = Clock::now();
  const Expected<std::string> hash = plan.pipeline->model_hash();
  progress.clear();
  if (!hash) return fail(hash.error(), flags.run.json);
  if (interrupted) return fail(Error{ErrorCode::kCancelled, "cancelled"}, flags.run.json);
  const double hash_ms = since_ms(hash_start);

  nlohmann::ordered_json pictures = nlohmann::ordered_json::array();
  if (const Status status = run_plan(flags, plan, *hash, progress, pictures); !status) {
    progress.clear();
    return fail(status.error(), flags.run.json);
  }
  if (!flags.run.json) return kExitOk;

  const Expected<Context> context = host_context(flags.run.threads);
  const PictureRequest& request = plan.request;
  nlohmann::ordered_json result{{"status", "ok"}, {"version", INTAGLIO_VERSION}};
  const ModelInfo& model = plan.model->info();
  result["model"] = {{"name", model.name}, {"path", model.folder.string()}, {"hash", *hash}};
  result["prompt"] = request.prompt;
  result["width"] = request.width;
  result["height"] = request.height;
  result["steps"] = request.steps;
  result["guidance"] = request.guidance;
  result["precision"] = precision_name(plan.precision);
  result["device"] = device_name(plan.pipeline->context());
  if (context) {
    result["cpu"] = context->cpu.brand;
    result["isa"] = cpu_isa_name(context->cpu.isa);
    result["threads"] = context->threads;
  }
  result["pictures"] = std::move(pictures);
  result["time_ms"] = {{"open", open_ms}, {"hash", hash_ms}, {"total", since_ms(start)}};
  result["planned_memory_bytes"] = planned->peak_bytes;
  result["peak_memory_bytes"] = peak_resident_bytes();
  print_json(result);
  return kExitOk;
}

}  // namespace

void add_generate(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<GenerateFlags>();
  CLI::App* command = app.add_subcommand("generate", "Make pictures from a prompt");
  command
      ->add_option(
          "--model", flags->model,
          "Folder of a model (diffusers layout); \"mini\", the bundled one; or "
          "\"synthetic:ideogram4\", \"synthetic:mini\": random weights in a model's sizes, "
          "to see times and memory without its files")
      ->capture_default_str();
  command->add_option("--prompt", flags->prompt, "What to show; @FILE reads it from a file")
      ->required()
      ->type_name("TEXT|@FILE");
  command
      ->add_option("--size", flags->size, "Width and height in pixels; by default the model's own")
      ->type_name("WxH");
  command->add_option("--steps", flags->steps, "Sampling steps; by default the model's own")
      ->check(CLI::Range(1, 1000));
  command
      ->add_option("--guidance", flags->guidance,
                   "Guidance scale: one value, or one a step; by default the model's own")
      ->type_name("G[,G...]");
  command->add_option("--seed", flags->seed, "Seed of the noise; random by default")
      ->type_name("NUMBER");
  command->add_option("--count", flags->count, "Pictures, with seeds seed, seed + 1, ...")
      ->check(CLI::Range(1, 9999))
      ->capture_default_str();
  command
      ->add_option("--output", flags->output,
                   "PNG file (numbered if --count > 1) or folder; by default ./intaglio-<seed>.png")
      ->type_name("FILE|DIR");
  command
      ->add_option("--noise", flags->noise,
                   "Start from the tensor \"noise\" [tokens, channels] of a safetensors file")
      ->type_name("FILE");
  command->add_option("--latents-out", flags->latents_out, "Write the final latents as safetensors")
      ->type_name("FILE");
  command
      ->add_option("--features-out", flags->features_out, "Write the text features as safetensors")
      ->type_name("FILE");
  command
      ->add_option("--memory-limit", flags->memory_limit,
                   "Refuse pictures that need more; by default what is available")
      ->type_name("SIZE");
  command
      ->add_option("--vram-budget", flags->vram_budget,
                   "Memory of the GPU to work in: layers that do not fit stream from the host's, "
                   "which takes as much of it; by default all weights are on the GPU")
      ->type_name("SIZE");
  add_run_flags(*command, flags->run, AutoPrecision::kOffered);
  command->footer(
      "Examples:\n"
      "  intaglio generate --prompt \"a red fox on white\" --output fox.png\n"
      "  intaglio generate --model ideogram-4 --prompt @poster.json --size 1024x1536 --seed 7\n"
      "  intaglio generate --prompt \"a cat\" --seed 1 --count 4 --output pictures/ --json > "
      "result.json\n"
      "  intaglio generate --prompt \"a cat\" --steps 4 --guidance 7,7,7,3\n"
      "  intaglio generate --model ideogram-4 --prompt \"a cat\" --device cuda --vram-budget 12G\n"
      "  intaglio generate --model synthetic:ideogram4 --prompt \"a cat\" --json");
  command->callback([flags, &exit_code] { exit_code = run_generate(*flags); });
}

}  // namespace intaglio::cli
