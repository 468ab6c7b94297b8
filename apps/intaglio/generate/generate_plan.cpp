#include "generate/generate_plan.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <limits>
#include <set>

#include "advice/choose_parallel.h"
#include "advice/choose_precision.h"
#include "argument_values.h"
#include "console.h"
#include "generate/picture_files.h"
#include "models/choose_picture.h"

namespace intaglio::cli {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxPictures = 1'000'000;

// The error of `expected` joins the list; otherwise its value goes to `target`.
template <typename T, typename U>
void take(Expected<T> expected, U& target, std::vector<Error>& errors) {
  if (expected) {
    target = std::move(*expected);
  } else {
    errors.push_back(expected.error());
  }
}

void wrong(std::vector<Error>& errors, std::string message) {
  errors.push_back({ErrorCode::kInvalidArgument, std::move(message)});
}

// What a line of --prompts says over the flags.
PictureSettings joined(const PictureSettings& flags, const PictureSettings& line) {
  PictureSettings settings = flags;
  settings.prompt = line.prompt;
  for (const auto member :
       {&PictureSettings::negative_prompt, &PictureSettings::seed, &PictureSettings::size,
        &PictureSettings::output, &PictureSettings::preset, &PictureSettings::steps,
        &PictureSettings::mu, &PictureSettings::std, &PictureSettings::shift,
        &PictureSettings::guidance, &PictureSettings::cache, &PictureSettings::progressive}) {
    if (line.*member) settings.*member = line.*member;
  }
  return settings;
}

// One prompt of the run.
struct Entry {
  std::string where;  // of a line of --prompts, else empty
  PictureSettings settings;
  bool own_output = false;
};

std::vector<Entry> read_entries(const GenerateFlags& flags, std::vector<Error>& errors) {
  std::vector<Entry> entries;
  if (flags.prompt && flags.prompts) {
    wrong(errors, "--prompt: cannot be given together with --prompts");
  } else if (flags.prompt) {
    Entry entry{"", flags.settings, false};
    take(read_prompt(*flags.prompt), entry.settings.prompt, errors);
    entries.push_back(std::move(entry));
  } else if (flags.prompts) {
    for (const PromptLine& line : read_prompts(*flags.prompts, errors)) {
      entries.push_back(
          {line.where, joined(flags.settings, line.settings), line.settings.output.has_value()});
    }
  } else {
    wrong(errors, "--prompt: missing, expected what to show (or --prompts FILE)");
  }
  return entries;
}

// Settings that do not need the model.
struct Parsed {
  std::optional<PictureSize> size;
  ScheduleRequest schedule;
  uint64_t seed = 0;
};

Parsed parse_settings(const PictureSettings& settings, uint64_t random_seed, int64_t count,
                      std::vector<Error>& errors) {
  Parsed parsed;
  parsed.seed = random_seed;
  if (settings.seed) {
    std::optional<uint64_t> seed;
    take(parse_seed(*settings.seed), seed, errors);
    if (seed) parsed.seed = *seed;
  }
  if (parsed.seed > std::numeric_limits<uint64_t>::max() - static_cast<uint64_t>(count - 1))
    wrong(errors, "--seed: too large for --count pictures");
  if (settings.size) take(parse_size(*settings.size), parsed.size, errors);
  take(parse_schedule({.preset = settings.preset,
                       .steps = settings.steps,
                       .mu = settings.mu,
                       .std = settings.std,
                       .shift = settings.shift,
                       .guidance = settings.guidance}),
       parsed.schedule, errors);
  return parsed;
}

// Size and schedule: those asked for, else the model's defaults.
PictureJob job_of(const PictureSettings& settings, const Parsed& parsed, const GeneratePlan& plan,
                  std::vector<Error>& errors) {
  const ModelInfo& info = plan.model->info();
  PictureChoices choices{.prompt = settings.prompt,
                         .negative_prompt = settings.negative_prompt,
                         .schedule = parsed.schedule,
                         .progressive = settings.progressive.value_or(""),
                         .seed = parsed.seed};
  std::optional<PictureSize> size = parsed.size;
  if (!size && plan.init) size = plan.init->nearest_size(info.pixels_per_token);
  if (size) {
    choices.width = size->width;
    choices.height = size->height;
  }
  if (plan.init) choices.init.emplace();  // its pixels come with the plan
  std::vector<WrongSetting> wrong;
  ChosenPicture chosen = choose_picture(info, choices, wrong);
  for (WrongSetting& one : wrong) {
    // The setting's name becomes its flag's.
    std::string flag = "--" + one.setting;
    std::replace(flag.begin(), flag.end(), '_', '-');
    errors.push_back({one.error.code, one.error.message.replace(0, one.setting.size(), flag)});
  }
  PictureJob job;
  job.request = std::move(chosen.request);
  job.request.init.reset();
  if (settings.cache) {
    if (const Status taken = take_cache(*settings.cache, job.request); !taken)
      errors.push_back(taken.error());
  }
  job.schedule = std::move(chosen.schedule);
  return job;
}

// The errors that came after `first` get the line's place in front.
void name_place(const std::string& where, size_t first, std::vector<Error>& errors) {
  if (where.empty()) return;
  for (size_t i = first; i < errors.size(); ++i)
    errors[i].message = where + ": " + errors[i].message;
}

// --output -
void check_stdout_picture(const GenerateFlags& flags, size_t pictures, std::vector<Error>& errors) {
  if (flags.run.json) wrong(errors, "--output -: --json prints on standard output, too");
  if (pictures > 1) wrong(errors, fmt::format("--output -: takes one picture, found {}", pictures));
  if (::isatty(STDOUT_FILENO) == 1)
    wrong(errors, "--output -: standard output is a terminal; expected a file or a pipe");
}

// A line's own file name lies in the folder of --output, if that is one.
std::string output_of(const Entry& entry, const std::optional<std::string>& folder) {
  const std::string output = entry.settings.output.value_or("");
  if (!entry.own_output || !folder || fs::path(output).is_absolute()) return output;
  return (fs::path(*folder) / output).string();
}

bool is_folder(const std::string& output) {
  std::error_code ignored;
  return output.ends_with('/') || fs::is_directory(output, ignored);
}

// Names of all pictures. Pictures without a name of their own share one numbering.
void name_pictures(const GenerateFlags& flags, const std::vector<Entry>& entries,
                   GeneratePlan& plan, std::vector<Error>& errors) {
  const std::optional<std::string>& output = flags.settings.output;
  std::optional<std::string> folder;
  if (output && is_folder(*output)) folder = *output;
  const auto count = static_cast<size_t>(flags.count);
  const auto unnamed = static_cast<int64_t>(
      count * static_cast<size_t>(std::count_if(entries.begin(), entries.end(),
                                                [](const Entry& e) { return !e.own_output; })));
  int64_t number = 0;
  for (size_t e = 0; e < entries.size(); ++e) {
    const Entry& entry = entries[e];
    const std::string target = output_of(entry, folder);
    const size_t first_error = errors.size();
    if (target == kStdoutPicture) {
      check_stdout_picture(flags, plan.jobs.size(), errors);
      for (PictureJob& job : plan.jobs) job.file = kStdoutPicture;
      return;
    }
    if (target.ends_with('/')) plan.files.makes(target);
    for (size_t i = 0; i < count; ++i) {
      PictureJob& job = plan.jobs[e * count + i];
      const PictureName name{
          .output = target,
          .seed = job.request.seed,
          .index = entry.own_output ? static_cast<int64_t>(i) : number++,
          .count = entry.own_output ? flags.count : unnamed,
          .prompt = entries.size() > 1 ? std::optional<size_t>(e) : std::nullopt};
      const Expected<fs::path> file = picture_path(name);
      if (!file) {
        errors.push_back(file.error());
        name_place(entry.own_output ? entry.where : "", first_error, errors);
        if (!entry.own_output) return;  // the same for all
        break;
      }
      job.file = *file;
    }
  }
}

void plan_files(const GenerateFlags& flags, const std::vector<Entry>& entries, GeneratePlan& plan,
                std::vector<Error>& errors) {
  name_pictures(flags, entries, plan, errors);
  const auto pictures = static_cast<int64_t>(plan.jobs.size());
  const auto prompts = static_cast<int64_t>(entries.size());
  for (int64_t i = 0; i < pictures; ++i) {
    PictureJob& job = plan.jobs[static_cast<size_t>(i)];
    if (!flags.latents_out.empty()) job.latents = numbered(flags.latents_out, i, pictures);
    // Pictures of one prompt share its features.
    if (!flags.features_out.empty() && i % flags.count == 0)
      job.features = numbered(flags.features_out, i / flags.count, prompts);
    job.request.keep_features = !job.features.empty();
    const Entry& entry = entries[static_cast<size_t>(i / flags.count)];
    const std::string output = entry.own_output ? entry.where + ": output" : "--output";
    if (!job.file.empty() && job.file != kStdoutPicture) plan.files.writes(job.file, output);
    if (!job.latents.empty()) plan.files.writes(job.latents, "--latents-out");
    if (!job.features.empty()) plan.files.writes(job.features, "--features-out");
  }
  if (!flags.noise.empty()) plan.files.reads(flags.noise, "--noise");
  if (flags.prompts) plan.files.reads(*flags.prompts, "--prompts");
  if (flags.init.image) plan.files.reads(*flags.init.image, "--init-image");
  if (flags.init.mask) plan.files.reads(*flags.init.mask, "--mask");
  for (const AdapterUse& use : plan.adapters) plan.files.reads(use.file->path(), "--lora");
  if (flags.prompt) {
    if (const auto file = prompt_file(*flags.prompt)) plan.files.reads(*file, "--prompt");
  }
  if (plan.model == nullptr) return;
  for (const fs::path& file : plan.model->files()) plan.files.reads(file, "a file of the model");
}

void read_noise_of(const GenerateFlags& flags, GeneratePlan& plan, std::vector<Error>& errors) {
  if (flags.noise.empty()) return;
  if (plan.jobs.size() > 1) {
    wrong(errors, fmt::format("--noise: gives one picture, expected no --count, found {} pictures",
                              plan.jobs.size()));
    return;
  }
  const ModelInfo& info = plan.model->info();
  PictureRequest& request = plan.jobs.front().request;
  if (!check_size({request.width, request.height}, info.pixels_per_token)) return;  // told already
  const int64_t tokens =
      (request.width / info.pixels_per_token) * (request.height / info.pixels_per_token);
  take(read_noise(flags.noise, tokens, info.latent_channels), request.noise, errors);
}

const PictureRequest& largest_request(const GeneratePlan& plan) {
  return std::max_element(plan.jobs.begin(), plan.jobs.end(),
                          [](const PictureJob& a, const PictureJob& b) {
                            return a.request.width * a.request.height <
                                   b.request.width * b.request.height;
                          })
      ->request;
}

// `--parallel auto`, for the largest picture.
void share(std::span<const int> gpus, PipelineOptions& options, GeneratePlan& plan,
           std::vector<Error>& errors) {
  Expected<ChosenParallel> chosen =
      choose_parallel(plan.model, options, gpus, largest_request(plan));
  if (!chosen) {
    errors.push_back(chosen.error());
    return;
  }
  options = std::move(chosen->options);
  plan.parallel_reason = std::move(chosen->reason);
}

// `--precision auto`, for the largest picture.
void choose(const PipelineOptions& options, GeneratePlan& plan, std::vector<Error>& errors) {
  Expected<ChosenPrecision> chosen = choose_precision(plan.model, options, largest_request(plan));
  if (!chosen) {
    errors.push_back(chosen.error());
    return;
  }
  plan.pipeline = std::move(chosen->pipeline);
  plan.precision = chosen->precision;
  plan.precision_reason = chosen->reason;
}

// Memory is planned before the weights are read, also for the hash.
void plan_memory(const GenerateFlags& flags, const std::vector<Entry>& entries, GeneratePlan& plan,
                 std::vector<Error>& errors) {
  for (size_t e = 0; e < entries.size(); ++e) {
    const size_t first_error = errors.size();
    const auto count = static_cast<size_t>(flags.count);
    PictureRequest request = plan.jobs[e * count].request;
    if (plan.init) request.init = plan.init->of_size(request.width, request.height);
    Expected<PicturePlan> planned = plan.pipeline->plan(request);
    if (planned) {
      planned->request.init.reset();  // thousands of plans share one picture
      plan.peak_bytes = std::max(plan.peak_bytes, planned->peak_bytes());
      plan.second_peak_bytes = std::max(plan.second_peak_bytes, planned->second_peak_bytes());
      plan.rank_peak_bytes = std::max(plan.rank_peak_bytes, planned->rank_peak_bytes());
      const auto shared = std::make_shared<const PicturePlan>(std::move(*planned));
      for (size_t i = 0; i < count; ++i) plan.jobs[e * count + i].plan = shared;
    } else {
      const Error& error = planned.error();
      errors.push_back(
          {error.code, (error.message.starts_with("cache: ") ? "--" : "") + error.message});
    }
    name_place(entries[e].where, first_error, errors);
  }
}

}  // namespace

GeneratePlan make_generate_plan(const GenerateFlags& flags, std::vector<Error>& errors) {
  GeneratePlan plan;
  const uint64_t random = random_seed();
  std::vector<Entry> entries = read_entries(flags, errors);
  if (!errors.empty() && errors.back().code == ErrorCode::kCancelled) return plan;
  plan.prompts = entries.size();
  if (entries.size() * static_cast<size_t>(flags.count) > kMaxPictures) {
    wrong(errors, fmt::format("--prompts: {} prompts with {} pictures each, at most {} pictures",
                              entries.size(), flags.count, kMaxPictures));
    return plan;
  }
  // The flags once, so that what is wrong with them is not told for every line.
  const size_t before = errors.size();
  parse_settings(flags.settings, random, flags.count, errors);
  const bool flags_good = errors.size() == before;
  plan.init = read_init_files(flags.init, errors);
  take(open_model(flags.model), plan.model, errors);
  PipelineOptions options;
  DeviceChoice devices;
  take(parse_devices(flags.run.device, flags.devices, flags.parallel), devices, errors);
  use_devices(options, devices);
  if (!flags.memory_limit.empty())
    take(parse_memory("--memory-limit", flags.memory_limit), options.memory_limit, errors);
  if (flags.vram_budget)
    take(parse_memory("--vram-budget", *flags.vram_budget), options.vram_budget, errors);
  for (const std::string& lora : flags.loras) {
    Expected<AdapterUse> opened = open_lora(lora);
    if (opened) {
      plan.adapters.push_back(std::move(*opened));
    } else {
      errors.push_back(opened.error());
    }
  }
  options.adapters = plan.adapters;
  for (const Entry& entry : entries) {
    const size_t first_error = errors.size();
    std::vector<Error> told;  // by the flags already
    const Parsed parsed =
        parse_settings(entry.settings, random, flags.count, flags_good ? errors : told);
    PictureJob job;
    job.request.seed = parsed.seed;
    if (plan.model != nullptr && flags_good && errors.size() == first_error)
      job = job_of(entry.settings, parsed, plan, errors);
    name_place(entry.where, first_error, errors);
    for (int64_t i = 0; i < flags.count; ++i) {
      plan.jobs.push_back(job);
      plan.jobs.back().request.seed += static_cast<uint64_t>(i);
    }
  }
  if (entries.empty()) return plan;
  plan_files(flags, entries, plan, errors);
  for (const Error& error :
       plan.files.problems(flags.no_overwrite ? Overwrite::kRefused : Overwrite::kAllowed))
    errors.push_back(error);
  if (plan.model == nullptr) return plan;
  read_noise_of(flags, plan, errors);
  const std::optional<Precision> precision = precision_from_name(flags.run.precision);
  options.selection.precision = precision.value_or(Precision::kInt8);
  options.selection.keep_bf16 = flags.run.keep_bf16;
  take(parse_attention(flags.attention), options.attention, errors);
  options.threads = flags.run.threads;
  plan.precision = options.selection.precision;
  if (!devices.undecided.empty() && errors.empty()) share(devices.undecided, options, plan, errors);
  if (precision) {
    take(Pipeline::open(plan.model, options), plan.pipeline, errors);
  } else if (errors.empty()) {
    choose(options, plan, errors);
  }
  if (errors.empty()) plan_memory(flags, entries, plan, errors);
  return plan;
}

}  // namespace intaglio::cli
