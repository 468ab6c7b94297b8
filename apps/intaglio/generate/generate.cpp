// `intaglio generate`: a prompt becomes PNG files.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include "argument_values.h"
#include "cache/cache.h"
#include "command.h"
#include "console.h"
#include "core/memory_info.h"
#include "generate/generate_plan.h"
#include "generate/picture_files.h"
#include "interrupt.h"
#include "model_flags.h"
#include "models/choose_picture.h"
#include "models/known_words.h"
#include "models/parts/packed_cache.h"
#include "options.h"
#include "pipeline/picture_text.h"
#include "progress.h"

namespace intaglio::cli {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using nlohmann::ordered_json;

double since_ms(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

std::string_view phase_label(Phase phase) {
  switch (phase) {
    case Phase::kLoadText:
      return "loading the text encoder";
    case Phase::kText:
      return "reading the prompt";
    case Phase::kLoadTransformers:
      return "loading the transformers";
    case Phase::kEncode:
      return "reading the picture";
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

// Turns the pipeline's reports into the bar: steps for sampling, a phase's name for the rest.
ProgressCallback show(Progress& progress, std::string prefix) {
  return [&progress, prefix = std::move(prefix)](const PictureProgress& report) {
    const std::string label = prefix + std::string(phase_label(report.phase));
    const bool steps = report.phase == Phase::kDenoise || (progress.redraws() && report.total > 1);
    if (steps) {
      progress.step(label, report.done, report.total);
    } else {
      progress.phase(label);
    }
  };
}

// A run while it goes on.
struct Run {
  const GenerateFlags& flags;
  GeneratePlan plan = {};
  Progress progress;
  Clock::time_point start = Clock::now();
  double open_ms = 0.0, hash_ms = 0.0;
  std::string hash = {};
  std::vector<std::string> warnings = {};
  ordered_json pictures = ordered_json::array();
};

ordered_json settings_json(const PictureRequest& request) {
  ordered_json json{{"prompt", request.prompt}};
  if (request.negative_prompt) json["negative_prompt"] = *request.negative_prompt;
  json["width"] = request.width;
  json["height"] = request.height;
  json["steps"] = request.steps;
  json["guidance"] = request.guidance;
  return json;
}

ordered_json schedule_json(const Schedule& schedule) {
  ordered_json json{{"preset", nullptr}};
  if (!schedule.preset.empty()) json["preset"] = schedule.preset;
  json["steps"] = schedule.steps;
  if (schedule.mu) json["mu"] = *schedule.mu;
  if (schedule.std) json["std"] = *schedule.std;
  if (schedule.shift) json["shift"] = *schedule.shift;
  json["guidance"] = guidance_text(schedule.guidance);
  return json;
}

// What --attention says where it says something; empty: auto.
std::string asked_attention(const GenerateFlags& flags) {
  return flags.attention == "auto" ? std::string() : flags.attention;
}

ordered_json init_json(const InitFlags& flags, const InitOrigin& origin, int64_t run_steps) {
  ordered_json json{{"image", *flags.image}, {"image_hash", origin.image_hash}};
  if (flags.mask) {
    json["mask"] = *flags.mask;
    json["mask_hash"] = origin.mask_hash;
  }
  json["strength"] = origin.strength;
  json["run_steps"] = run_steps;
  return json;
}

ordered_json picture_json(const Run& run, const PictureJob& job, const Picture& picture,
                          double total_ms) {
  ordered_json phases;
  for (size_t i = 0; i < kPhaseNames.size(); ++i)
    phases[std::string(kPhaseNames[i])] = picture.phase_ms[i];
  const PictureRequest& request = job.request;
  ordered_json json{{"file", job.file.string()}};
  json["seed"] = request.noise ? ordered_json(nullptr) : ordered_json(request.seed);
  json.update(settings_json(job.plan->request));
  json["schedule"] = schedule_json(job.schedule);
  if (const std::optional<StepMask>& mask = job.plan->sampling.mask) {
    json["cache"] = {{"mask", mask->name},
                     {"passes", pass_work_texts(*mask)},
                     {"order", mask->order},
                     {"first_blocks", mask->first_blocks}};
  }
  if (const int64_t steps = job.plan->sampling.half_steps; steps > 0) {
    json["progressive"] = {
        {"half_steps", steps},
        {"width", request.width / 2},
        {"height", request.height / 2},
        {"noise_level", job.plan->sampling.noise_level(static_cast<size_t>(steps))}};
  }
  if (run.plan.init)
    json["init"] = init_json(run.flags.init, run.plan.init->origin, job.plan->steps());
  if (!job.latents.empty()) json["latents"] = job.latents.string();
  if (!job.features.empty()) json["features"] = job.features.string();
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

Status write_tensors(const PictureJob& job, const PngText& text, const Picture& picture) {
  std::map<std::string, std::string> metadata(text.begin(), text.end());
  metadata.erase("parameters");
  metadata.erase("Description");
  metadata["prompt"] = job.request.prompt;
  if (!job.latents.empty()) {
    INTAGLIO_TRY(write_matrix(job.latents, "latents", picture.latents, picture.image_tokens,
                              picture.latent_channels, metadata));
  }
  if (!job.features.empty()) {
    INTAGLIO_TRY(write_matrix(job.features, "features", picture.features, picture.text_tokens,
                              picture.feature_dim, {{"prompt", job.request.prompt}}));
  }
  return {};
}

Status write_picture(const PictureJob& job, const RgbImage& image, const PngText& text) {
  if (job.file != kStdoutPicture) return write_png(job.file, image, text);
  INTAGLIO_ASSIGN(const std::vector<uint8_t> png, encode_png(image, text));
  write_text(Stream::kOut, {reinterpret_cast<const char*>(png.data()), png.size()});
  return {};
}

Status stdout_status() {
  // finish_output tells the reason.
  if (stdout_failed()) return make_error(ErrorCode::kIo, "stopped: nobody takes the results");
  return {};
}

Status run_job(Run& run, const PictureJob& job, const std::string& prefix) {
  const GenerateFlags& flags = run.flags;
  const PictureRequest& request = job.request;
  const Clock::time_point start = Clock::now();
  PicturePlan plan = *job.plan;
  plan.request.seed = request.seed;
  const std::optional<InitFiles>& init = run.plan.init;
  if (init) plan.request.init = init->of_size(request.width, request.height);
  INTAGLIO_ASSIGN(const Picture picture,
                  run.plan.pipeline->generate(plan, show(run.progress, prefix), &interrupted));
  run.progress.clear();
  if (interrupted) return make_error(ErrorCode::kCancelled, "cancelled");
  const PngText text = picture_text(plan.request, job.schedule,
                                    {.model = run.plan.model->info().name,
                                     .model_hash = run.hash,
                                     .precision = precision_name(run.plan.precision),
                                     .version = INTAGLIO_VERSION,
                                     .adapters = adapter_names(run.plan.adapters),
                                     .mask = job.plan->mask_name(),
                                     .half_steps = job.plan->sampling.half_steps,
                                     .attention = asked_attention(run.flags),
                                     .init = init ? std::optional(init->origin) : std::nullopt});
  INTAGLIO_TRY(write_tensors(job, text, picture));
  INTAGLIO_TRY(write_picture(job, picture.image, text));
  const double total_ms = since_ms(start);
  run.pictures.push_back(picture_json(run, job, picture, total_ms));
  if (job.file == kStdoutPicture) return stdout_status();
  run.progress.line(message_of(
      "{}wrote {} ({}x{}, seed {}, {})", prefix, job.file.string(), request.width, request.height,
      request.noise ? "none" : std::to_string(request.seed), format_duration(total_ms / 1000)));
  if (!flags.run.json) print(Stream::kOut, "{}\n", job.file.string());
  return stdout_status();
}

// Hashes the weights, then makes and writes every picture.
Status run_jobs(Run& run) {
  run.progress.phase("hashing the weights");
  const Clock::time_point hash_start = Clock::now();
  INTAGLIO_ASSIGN(run.hash, run.plan.pipeline->model_hash(&interrupted));
  run.progress.clear();
  if (interrupted) return make_error(ErrorCode::kCancelled, "cancelled");
  run.hash_ms = since_ms(hash_start);
  INTAGLIO_TRY(run.plan.files.make_folders());
  const size_t count = run.plan.jobs.size();
  for (size_t i = 0; i < count; ++i) {
    const std::string prefix = count > 1 ? fmt::format("[{}/{}] ", i + 1, count) : "";
    INTAGLIO_TRY(run_job(run, run.plan.jobs[i], prefix));
  }
  return {};
}

bool leaves_negative_prompt(const PictureJob& job) {
  return job.request.negative_prompt && !job.plan->request.negative_prompt;
}

// What the model says of itself, and a line on words of the prompts that it does not know.
std::vector<std::string> warnings_of(const GenerateFlags& flags, const GeneratePlan& plan) {
  std::vector<std::string> warnings = plan.model->info().warnings;
  if (std::any_of(plan.jobs.begin(), plan.jobs.end(), leaves_negative_prompt))
    warnings.emplace_back(kNegativePromptUnread);
  std::set<std::string> sizes;
  for (const PictureJob& job : plan.jobs) {
    const PictureRequest& request = job.plan->request;
    const std::string warning = size_warning(plan.model->info(), flags.model.model, request.width,
                                             request.height, job.plan->sampling.half_steps);
    if (!warning.empty() && sizes.insert(warning).second) warnings.push_back(warning);
  }
  const Expected<std::optional<KnownWords>> known = read_known_words(plan.model->info().folder);
  if (!known) {
    warnings.push_back(known.error().message);
    return warnings;
  }
  if (!*known) return warnings;
  std::vector<std::string> unknown;
  std::set<std::string> seen;
  const std::string* last = nullptr;  // pictures of one prompt follow each other
  for (const PictureJob& job : plan.jobs) {
    if (last != nullptr && *last == job.request.prompt) continue;
    last = &job.request.prompt;
    for (const std::string& word : unknown_words(**known, *last))
      if (seen.insert(word).second) unknown.push_back(word);
  }
  if (!unknown.empty()) warnings.push_back(unknown_words_warning(flags.model.model, unknown));
  return warnings;
}

// Joins what the run is to `result`, which has its status.
void add_run_json(Run& run, ordered_json& result) {
  const GeneratePlan& plan = run.plan;
  const ModelInfo& model = plan.model->info();
  result["version"] = INTAGLIO_VERSION;
  result["model"] = {{"name", model.name}, {"path", model.folder.string()}, {"hash", run.hash}};
  for (const auto& [part, place] : model.other_parts)
    result["model"]["parts"][part] = place.string();
  if (!run.warnings.empty()) result["warnings"] = run.warnings;
  if (plan.prompts == 1) {
    result.update(settings_json(plan.jobs.front().plan->request));
    result["schedule"] = schedule_json(plan.jobs.front().schedule);
  }
  if (!plan.adapters.empty()) result["lora"] = adapter_names(plan.adapters);
  result["precision"] = precision_name(plan.precision);
  if (const std::string attention = asked_attention(run.flags); !attention.empty())
    result["attention"] = attention;
  result["device"] = device_name(plan.pipeline->context());
  if (const Context* second = plan.pipeline->second_context(); second != nullptr)
    result["second_device"] = {{"name", device_name(*second)},
                               {"planned_memory_bytes", plan.second_peak_bytes}};
  const std::vector<const Context*> ranks = plan.pipeline->rank_contexts();
  for (size_t i = 0; i < ranks.size(); ++i) {
    uint64_t most = 0;
    for (const PictureJob& job : plan.jobs)
      most = std::max(most, job.plan->rank_memory[i].peak_bytes());
    result["rank_devices"].push_back(
        {{"name", device_name(*ranks[i])}, {"planned_memory_bytes", most}});
  }
  if (const Expected<Context> context = host_context(run.flags.run.threads)) {
    result["cpu"] = context->cpu.brand;
    result["isa"] = cpu_isa_name(context->cpu.isa);
    result["threads"] = context->threads;
  }
  result["asked_pictures"] = plan.jobs.size();
  result["pictures"] = std::move(run.pictures);
  result["time_ms"] = {
      {"open", run.open_ms}, {"hash", run.hash_ms}, {"total", since_ms(run.start)}};
  result["planned_memory_bytes"] = plan.peak_bytes;
  result["peak_memory_bytes"] = peak_resident_bytes();
}

// The pictures are there: what was converted for them may take its time to the disk.
void keep_packed_weights(Run& run) {
  run.plan.pipeline.reset();
  if (!writes_packed_cache()) return;
  run.progress.phase("keeping the prepared weights for the next start");
  finish_packed_cache();
  run.progress.clear();
}

void tell_schedule(const PictureJob& job, Progress& progress) {
  progress.line("schedule: " + job.schedule.describe());
  if (job.plan->steps() < job.request.steps)
    progress.line(fmt::format("init image: the last {} of {} steps run", job.plan->steps(),
                              job.request.steps));
  const int64_t half_steps = job.plan->sampling.half_steps;
  if (half_steps > 0)
    progress.line(fmt::format("progressive: the first {} of {} steps at {}x{}", half_steps,
                              job.request.steps, job.request.width / 2, job.request.height / 2));
}

int run_generate(const GenerateFlags& flags) {
  Run run{.flags = flags,
          .progress = Progress(flags.quiet ? Verbosity::kQuiet : Verbosity::kNormal)};
  if (flags.quiet) silence_warnings();
  std::vector<Error> errors;
  if (const Status cache = use_packed_cache(flags.packed_cache); !cache)
    errors.push_back(cache.error());
  run.plan = make_generate_plan(flags, errors);
  if (interrupted) return fail(Error{ErrorCode::kCancelled, "cancelled"}, flags.run.json);
  if (!errors.empty()) return fail(errors, flags.run.json);
  run.open_ms = since_ms(run.start);
  if (!run.plan.parallel_reason.empty()) run.progress.line("parallel " + run.plan.parallel_reason);
  if (!run.plan.precision_reason.empty())
    run.progress.line("precision " + run.plan.precision_reason);
  if (flags.vram_budget && run.plan.pipeline->context().gpu == nullptr)
    run.progress.line("note: --vram-budget: no GPU computes, so nothing is kept within it");
  run.warnings = warnings_of(flags, run.plan);
  for (const std::string& warning : run.warnings) run.progress.line("warning: " + warning);
  if (run.plan.prompts == 1) tell_schedule(run.plan.jobs.front(), run.progress);

  ordered_json result{{"status", "ok"}};
  int exit_code = kExitOk;
  if (const Status status = run_jobs(run); !status) {
    run.progress.clear();
    run.plan.files.remove_folders();
    errors = {status.error()};
    if (!stdout_failed()) print_errors(errors);
    result = failure_json(errors);
    exit_code = exit_code_of(status.error());
  }
  if (flags.run.json) {
    add_run_json(run, result);
    print_json(result);
  }
  keep_packed_weights(run);
  return exit_code;
}

}  // namespace

void add_generate(CLI::App& app, Action& action) {
  auto flags = std::make_shared<GenerateFlags>();
  CLI::App* command = app.add_subcommand("generate", "Make pictures from a prompt");
  add_model_flags(*command, flags->model);
  command
      ->add_option("--prompt", flags->prompt,
                   "What to show; @FILE reads it from a file or a pipe, - or @- from standard "
                   "input; @@ writes an @ at the beginning")
      ->type_name("TEXT|@FILE|-");
  command
      ->add_option(
          "--prompts", flags->prompts,
          "Many prompts instead, one a line, or a JSON object a line: \"prompt\" and, of "
          "its own, \"negative_prompt\", \"seed\", \"size\", \"preset\", \"steps\", "
          "\"mu\", \"std\", \"shift\", \"guidance\", \"cache\", \"progressive\", \"output\"; - for "
          "standard input")
      ->type_name("FILE|-");
  command
      ->add_option("--negative-prompt", flags->settings.negative_prompt,
                   "What not to show, for models that read one")
      ->type_name("TEXT");
  command
      ->add_option("--size", flags->settings.size,
                   "Width and height in pixels; by default the model's own")
      ->type_name("WxH");
  add_schedule_flags(*command, flags->settings);
  add_cache_flag(*command, flags->settings.cache);
  add_progressive_flag(*command, flags->settings.progressive);
  add_init_flags(*command, flags->init);
  add_lora_flag(*command, flags->loras);
  command
      ->add_option("--seed", flags->settings.seed,
                   "Seed of the noise; -1, the default, is a random one")
      ->type_name("NUMBER");
  limit(command->add_option("--count", flags->count,
                            "Pictures of each prompt, with seeds seed, seed + 1, ..."),
        1, 9999)
      ->capture_default_str();
  command
      ->add_option("--output", flags->settings.output,
                   "PNG file (numbered where there are several pictures), a folder (made if it "
                   "ends in /), or - for standard output; by default ./intaglio-<seed>.png")
      ->type_name("FILE|DIR|-");
  command->add_flag("--no-overwrite", flags->no_overwrite,
                    "Refuse to replace a file, before any work");
  command->add_flag("--quiet", flags->quiet, "No progress and no notes on stderr, only errors");
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
  add_packed_cache_flag(*command, flags->packed_cache);
  add_run_flags(*command, flags->run, AutoPrecision::kOffered);
  add_attention_flag(*command, flags->attention);
  add_devices_flag(*command, flags->devices);
  add_parallel_flag(*command, flags->parallel);
  command->footer(
      "Examples:\n"
      "  intaglio generate --prompt \"a red fox on white\" --output fox.png\n"
      "  intaglio generate --model ideogram-4 --prompt @poster.json --size 1024x1536\n"
      "  intaglio generate --prompt \"a cat\" --seed 1 --count 4 --output pictures/\n"
      "  intaglio generate --prompts prompts.txt --output pictures/ --json\n"
      "  fortune | intaglio generate --prompt - --output - > fortune.png\n"
      "  intaglio generate --prompt \"a cat\" --steps 8 --guidance 5x6,3x2\n"
      "  intaglio generate --model ideogram-4 --prompt \"a cat\" --vram-budget 12G\n"
      "  intaglio generate --model ideogram-4 --prompt \"a cat\" --devices 0,1\n"
      "  intaglio generate --prompt \"a blue cat\" --init-image cat.png --strength 0.5\n"
      "  intaglio generate --prompt \"a red hat\" --init-image cat.png --mask hat.png\n"
      "  intaglio generate --prompt \"a cat\" --lora style.safetensors:0.8\n"
      "  intaglio generate --model synthetic:ideogram4 --prompt \"a cat\" --json");
  command->callback([flags, &action] { action = [flags] { return run_generate(*flags); }; });
}

}  // namespace intaglio::cli
