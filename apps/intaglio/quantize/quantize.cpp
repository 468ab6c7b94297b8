// `intaglio quantize`: a checkpoint of any format as int8 that this engine, ComfyUI and diffusers
// read.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "argument_values.h"
#include "command.h"
#include "console.h"
#include "core/memory_info.h"
#include "interrupt.h"
#include "io/hub_cache.h"
#include "io/printable.h"
#include "lora_flags.h"
#include "model_flags.h"
#include "models/checkpoint_quantizer.h"
#include "models/parts/unmatched_adapters.h"
#include "models/registry.h"
#include "options.h"
#include "pipeline/device.h"
#include "progress.h"
#include "quantize/fit.h"
#include "quantize/model_copy.h"
#include "run_files.h"

namespace intaglio::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

struct QuantizeFlags {
  std::string source, target;
  std::string scheme = "convrot", format = "auto";
  std::string group = "256";
  bool group_given = false;
  std::vector<std::string> parts, loras;
  FitFlags fit;
  std::optional<std::string> max_shard;
  bool overwrite = false, json = false;
  int threads = 0;
};

const std::vector<std::string> kSchemes{"row", "convrot", "smooth", "convrot+smooth"};
const std::vector<std::string> kFormats{"auto", "comfy", "diffusers"};
// Of a folder's files, as diffusers has it.
constexpr uint64_t kFolderShard = 10ull << 30;
const std::vector<std::string> kGroups{"16", "64", "256", "1024", "4096"};

// A part and its folder in a model of the diffusers layout.
struct PartFolder {
  std::string part, folder, stem;
};
const std::vector<PartFolder> kParts{
    {"transformer", "transformer", "diffusion_pytorch_model"},
    {"unconditional", "unconditional_transformer", "diffusion_pytorch_model"},
    {"text_encoder", "text_encoder", "model"}};

// One file to write.
struct Job {
  std::string part;
  fs::path target;  // within the folder that is written, if one is
  std::shared_ptr<const Checkpoint> checkpoint;
  QuantizeOptions options;
  CheckpointQuantizer quantizer;
  std::optional<FittedPart> fitted = {};
};

struct Run {
  QuantizeFlags flags;
  fs::path source = {};
  bool is_model = false, to_folder = false;
  uint64_t max_shard = 0;
  std::vector<AdapterUse> adapters = {};
  std::vector<PartFolder> parts = {};  // of a model
  std::vector<Job> jobs = {};
  FitRequest fit = {};
  ordered_json reports = ordered_json::array();
};

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

Expected<fs::path> find_source(const std::string& name) {
  if (is_there(name)) return fs::path(name);
  if (name == "mini" || is_hub_name(name)) return resolve_model(name);
  return make_error(ErrorCode::kNotFound, "{}: no such file or folder", name);
}

Status choose_parts(Run& run) {
  if (!run.is_model) {
    if (run.flags.parts.empty()) return {};
    return make_error(ErrorCode::kInvalidArgument,
                      "--parts: {} is no model (there is no model_index.json in it), so it is one "
                      "part itself",
                      run.source.string());
  }
  std::vector<std::string> names = run.flags.parts;
  if (names.empty()) {
    names = {"transformer"};
    if (run.to_folder && is_there(run.source / "unconditional_transformer"))
      names.push_back("unconditional");
  }
  for (const PartFolder& part : kParts) {
    if (std::find(names.begin(), names.end(), part.part) == names.end()) continue;
    if (!is_there(run.source / part.folder))
      return make_error(ErrorCode::kNotFound, "{}: no such folder; --parts names {}",
                        (run.source / part.folder).string(), part.part);
    run.parts.push_back(part);
  }
  if (run.to_folder || run.parts.size() == 1) return {};
  return make_error(ErrorCode::kInvalidArgument,
                    "--parts: a file of --format comfy holds one part, found {}",
                    fmt::join(names, ","));
}

bool turns(const QuantizeFlags& flags) { return flags.scheme.starts_with("convrot"); }

Status add_job(Run& run, const std::string& part, const fs::path& weights, const fs::path& target) {
  const QuantizeFlags& flags = run.flags;
  INTAGLIO_ASSIGN(std::shared_ptr<const Checkpoint> checkpoint, Checkpoint::open(weights));
  const bool takes_adapters = part != "text_encoder";
  const QuantizeOptions options{
      .scheme = turns(flags) ? QuantizeScheme::kConvRot : QuantizeScheme::kRow,
      .group = *whole_number(flags.group),
      .layout = run.to_folder ? CheckpointLayout::kDiffusers : CheckpointLayout::kComfy,
      .keep = flags.fit.patterns(),
      .adapters = takes_adapters ? run.adapters : std::vector<AdapterUse>(),
      .adapter_part = part == "unconditional" ? "unconditional_transformer" : "transformer",
      .max_shard = run.max_shard};
  INTAGLIO_ASSIGN(CheckpointQuantizer quantizer, CheckpointQuantizer::plan(checkpoint, options));
  const std::string name = part.empty() ? quantizer.modules().part : part;
  run.jobs.push_back({name, target, std::move(checkpoint), options, std::move(quantizer)});
  return {};
}

Status plan_jobs(Run& run) {
  if (run.is_model) {
    for (const PartFolder& part : run.parts) {
      INTAGLIO_TRY(add_job(run, part.part, run.source / part.folder,
                           fs::path(part.folder) / (part.stem + ".safetensors")));
    }
    return {};
  }
  if (run.to_folder && !is_there(run.source / "config.json")) {
    return make_error(ErrorCode::kNotFound,
                      "{}: no config.json in it, so it cannot become a folder of the diffusers "
                      "layout; --format comfy writes a file",
                      run.source.string());
  }
  INTAGLIO_TRY(add_job(run, "", run.source, ""));
  const bool is_text = run.jobs.front().part == "text_encoder";
  run.jobs.front().target = is_text ? "model.safetensors" : "diffusion_pytorch_model.safetensors";
  return {};
}

// What no file of a transformer takes is told; nothing taken of an adapter at all is an error.
Status check_adapters(const Run& run) {
  if (run.adapters.empty()) return {};
  std::set<const TensorEntry*> matched;
  std::string model;
  for (const Job& job : run.jobs) {
    if (job.quantizer.modules().part != "transformer") continue;
    model = job.quantizer.modules().model;
    const std::set<const TensorEntry*>& found = job.quantizer.matched_adapters();
    matched.insert(found.begin(), found.end());
  }
  if (model.empty()) {
    return make_error(ErrorCode::kInvalidArgument,
                      "--lora: adapters are merged into transformers, --parts names none");
  }
  INTAGLIO_ASSIGN(const std::vector<std::string> warnings,
                  unmatched_adapters(run.adapters, matched, model));
  for (const std::string& warning : warnings) print_warning(warning);
  return {};
}

Status check_target(const Run& run) {
  const fs::path target = run.flags.target;
  if (run.to_folder) {
    if (is_there(target))
      return make_error(ErrorCode::kInvalidArgument,
                        "{}: is there already; a folder is not replaced", target.string());
    std::error_code ignored;
    const fs::path place = fs::weakly_canonical(fs::absolute(target, ignored), ignored);
    const fs::path inside = place.lexically_relative(fs::canonical(run.source, ignored));
    if (!inside.empty() && *inside.begin() != "..")
      return make_error(ErrorCode::kInvalidArgument, "{}: lies in the folder that is read",
                        target.string());
    return {};
  }
  const std::vector<fs::path> written = run.jobs.front().quantizer.files(target);
  for (const fs::path& file : written) {
    if (!run.flags.overwrite && is_there(file))
      return make_error(ErrorCode::kInvalidArgument,
                        "{}: is there already; --overwrite replaces it", file.string());
  }
  RunFiles files;
  for (const Job& job : run.jobs)
    for (const auto& file : job.quantizer.source().files())
      files.reads(file->path(), "a file of " + run.source.string());
  for (const fs::path& file : written) files.writes(file, "DST");
  const std::vector<Error> problems = files.problems(Overwrite::kAllowed);
  if (!problems.empty()) return tl::unexpected<Error>(problems.front());
  return {};
}

// The model that the transformers are calibrated in.
Expected<std::shared_ptr<const Model>> calibration_model(const Run& run) {
  if (run.is_model) return open_model(ModelPaths{.folder = run.source});
  if (!run.flags.fit.calibration_model) {
    return make_error(
        ErrorCode::kInvalidArgument,
        "{} is no model (there is no model_index.json in it), and a transformer alone "
        "draws nothing to calibrate with; --calibration-model names one that it is "
        "of",
        run.source.string());
  }
  INTAGLIO_ASSIGN(const fs::path folder, resolve_model(*run.flags.fit.calibration_model));
  return open_model(ModelPaths{.folder = folder, .transformer = run.source});
}

// Text encoders are neither smoothed nor protected by figures.
Status fit_jobs(Run& run, const Context& context, Progress& progress) {
  if (!run.fit.is_needed()) return {};
  std::vector<FittedPart> parts;
  uint64_t other = 0;
  for (const Job& job : run.jobs) {
    if (job.part == "text_encoder") {
      other += job.quantizer.bytes();
    } else {
      parts.push_back({job.part == "unconditional" ? 1 : 0, job.checkpoint, job.options});
    }
  }
  if (parts.empty()) return {};
  INTAGLIO_ASSIGN(const std::shared_ptr<const Model> model, calibration_model(run));
  INTAGLIO_TRY(fit_parts(context, *model, run.fit, other, parts, progress));
  auto part = parts.begin();
  for (Job& job : run.jobs) {
    if (job.part == "text_encoder") continue;
    INTAGLIO_ASSIGN(job.quantizer, CheckpointQuantizer::plan(job.checkpoint, part->options));
    job.fitted = std::move(*part++);
  }
  return {};
}

Expected<Run> plan(const QuantizeFlags& flags) {
  Run run{.flags = flags};
  if (flags.group_given && !turns(flags))
    return make_error(ErrorCode::kInvalidArgument,
                      "--group-size: --scheme {} turns nothing; convrot and convrot+smooth do",
                      flags.scheme);
  const bool smooth = flags.scheme.ends_with("smooth");
  INTAGLIO_ASSIGN(run.fit,
                  fit_request(flags.fit, smooth, turns(flags) ? *whole_number(flags.group) : 0));
  INTAGLIO_ASSIGN(run.source, find_source(flags.source));
  if (!run.source.has_filename()) run.source = run.source.parent_path();
  run.is_model = is_there(run.source / "model_index.json");
  run.to_folder = flags.format == "diffusers" ||
                  (flags.format == "auto" && !flags.target.ends_with(".safetensors"));
  if (flags.max_shard) {
    INTAGLIO_ASSIGN(run.max_shard, parse_memory("--max-shard-size", *flags.max_shard));
  } else if (run.to_folder) {
    run.max_shard = kFolderShard;
  }
  if (run.fit.is_needed() && !flags.loras.empty()) {
    return make_error(
        ErrorCode::kInvalidArgument,
        "--lora: cannot be given together with {}: calibration draws without adapters",
        smooth             ? "--scheme " + flags.scheme
        : run.fit.protects ? "--protect auto"
                           : "--rounding gptq");
  }
  for (const std::string& lora : flags.loras) {
    INTAGLIO_ASSIGN(AdapterUse use, open_lora(lora));
    run.adapters.push_back(std::move(use));
  }
  INTAGLIO_TRY(choose_parts(run));
  INTAGLIO_TRY(plan_jobs(run));
  INTAGLIO_TRY(check_adapters(run));
  INTAGLIO_TRY(check_target(run));
  return run;
}

Status write_job(Run& run, const Context& context, const Job& job, const fs::path& target,
                 Progress& progress) {
  // Whole since an earlier run of the same settings, whose folder this is.
  if (run.to_folder && is_there(job.quantizer.files(target).back())) {
    run.reports.push_back({{"part", job.part}, {"resumed", true}});
    return {};
  }
  const std::string name = fmt::format("quantizing {}", job.part);
  int64_t shown = -1;
  const auto show = [&](int64_t done, int64_t all) {
    // Where lines stay, a few are enough.
    constexpr int64_t kLines = 10;
    if (!progress.redraws() && done * kLines / all == shown) return;
    shown = done * kLines / all;
    progress.step(name, done, all);
  };
  INTAGLIO_ASSIGN(const QuantizeReport report, job.quantizer.write(context, target, show));
  progress.clear();
  const Stream out = run.flags.json ? Stream::kErr : Stream::kOut;
  std::string how;
  if (report.turned > 0) how = fmt::format(" ({} turned)", report.turned);
  if (report.smoothed > 0) how += fmt::format(" ({} smoothed)", report.smoothed);
  if (report.fitted > 0) how += fmt::format(" ({} rounded by gptq)", report.fitted);
  print(out, "{}: {} linears int8{}, {} matrices floats, {}{}{}\n", job.part, report.quantized, how,
        report.floats, format_bytes(report.bytes),
        report.shards > 1 ? fmt::format(" in {} shards", report.shards) : "",
        report.resumed ? ", gone on with" : "");
  ordered_json json{{"part", job.part},         {"int8", report.quantized},
                    {"turned", report.turned},  {"smoothed", report.smoothed},
                    {"fitted", report.fitted},  {"floats", report.floats},
                    {"bytes", report.bytes},    {"shards", report.shards},
                    {"resumed", report.resumed}};
  if (job.fitted) {
    print(out, "{}", OwnLines{fit_text(*job.fitted)});
    json["calibration"] = fit_json(*job.fitted);
  }
  run.reports.push_back(std::move(json));
  return {};
}

// The folder is written under another name, which says of what: only the same command finds it.
Expected<fs::path> part_folder(const Run& run) {
  std::string text;
  for (const Job& job : run.jobs) {
    INTAGLIO_ASSIGN(const std::string identity, job.quantizer.identity());
    text += identity + job.target.string();
  }
  fs::path target = run.flags.target;
  if (!target.has_filename()) target = target.parent_path();
  target += fmt::format(".{:016x}.part", std::hash<std::string>{}(text));
  return target;
}

Status write_folder(Run& run, const Context& context, Progress& progress, fs::path& kept) {
  INTAGLIO_ASSIGN(const fs::path folder, part_folder(run));
  kept = folder;
  std::error_code error;
  for (const Job& job : run.jobs) {
    fs::create_directories((folder / job.target).parent_path(), error);
    if (error)
      return make_error(ErrorCode::kIo, "{}: cannot make the folder: {}", folder.string(),
                        error.message());
    INTAGLIO_TRY(write_job(run, context, job, folder / job.target, progress));
  }
  progress.phase("copying the rest");
  std::map<std::string, std::string> configs;
  for (const Job& job : run.jobs) {
    const fs::path place = job.target.parent_path();
    configs[place.empty() ? "." : place.string()] = job.quantizer.quantization_config();
  }
  INTAGLIO_TRY(copy_around_weights(run.source, folder, configs, interrupted));
  progress.clear();
  fs::rename(folder, run.flags.target, error);
  if (!error) return {};
  return make_error(ErrorCode::kIo, "{}: cannot write: {}", run.flags.target, error.message());
}

int run_quantize(const QuantizeFlags& flags) {
  Expected<Run> run = plan(flags);
  if (!run) return fail(run.error(), flags.json);
  Expected<DeviceContext> device = open_device(std::nullopt, flags.threads);
  if (!device) return fail(device.error(), flags.json);
  Context& context = device->context;
  context.cancel = &interrupted;
  Progress progress;
  fs::path kept = fs::path(flags.target) += ".*.part";
  const Status fitted = fit_jobs(*run, context, progress);
  progress.clear();
  if (!fitted) return fail(fitted.error(), flags.json);
  const Status status = run->to_folder ? write_folder(*run, context, progress, kept)
                                       : write_job(*run, context, run->jobs.front(),
                                                   fs::path(flags.target), progress);
  progress.clear();
  if (!status) {
    if (status.error().code == ErrorCode::kCancelled) {
      print(Stream::kErr, "what is done is kept in {}; the same command goes on from there\n",
            kept.string());
    }
    return fail(status.error(), flags.json);
  }
  if (flags.json) {
    print_json({{"status", "ok"}, {"output", flags.target}, {"parts", run->reports}});
  } else {
    print(Stream::kOut, "wrote {}\n", flags.target);
  }
  return kExitOk;
}

}  // namespace

void add_quantize(CLI::App& app, Action& action) {
  auto flags = std::make_shared<QuantizeFlags>();
  CLI::App* command = app.add_subcommand(
      "quantize",
      "Write a checkpoint of any format as INT8, for this program, ComfyUI and diffusers");
  command
      ->add_option("source", flags->source,
                   "Folder of a model or of one part, a checkpoint file, owner/name in the Hugging "
                   "Face cache, or \"mini\"")
      ->required()
      ->type_name("SRC");
  command
      ->add_option("target", flags->target,
                   "What to write: FILE.safetensors, or a folder that is not there yet")
      ->required()
      ->type_name("DST");
  choose_from(
      command->add_option("--scheme", flags->scheme,
                          fmt::format("row: a scale a row; convrot: the same of rows "
                                      "turned in groups first, which spreads outliers; "
                                      "smooth: of columns scaled by what a calibration saw; "
                                      "one of {}",
                                      fmt::join(kSchemes, ", "))),
      kSchemes)
      ->capture_default_str();
  const CLI::Option* const group =
      choose_from(
          command->add_option("--group-size", flags->group,
                              fmt::format("Of convrot; a linear that it does not divide takes "
                                          "the next smaller one that does, or none; one of {}",
                                          fmt::join(kGroups, ", "))),
          kGroups)
          ->type_name("N")
          ->capture_default_str();
  choose_from(
      command->add_option("--format", flags->format,
                          fmt::format("comfy: a file with ComfyUI's names; diffusers: a folder, of "
                                      "a model with all its other parts; auto: by the end of DST; "
                                      "one of {}",
                                      fmt::join(kFormats, ", "))),
      kFormats)
      ->capture_default_str();
  std::vector<std::string> parts;
  for (const PartFolder& part : kParts) parts.push_back(part.part);
  choose_from(command
                  ->add_option("--parts", flags->parts,
                               "Which parts of a model; by default the transformer, in a folder "
                               "the unconditional one too; several by commas, of transformer, "
                               "unconditional, text_encoder")
                  ->delimiter(','),
              parts)
      ->type_name("PART");
  add_fit_flags(*command, flags->fit);
  add_lora_flag(*command, flags->loras);
  command
      ->add_option("--max-shard-size", flags->max_shard,
                   "Bytes of a file, e.g. 5G: more go into shards with an index; by default 10G in "
                   "a folder, and one file else")
      ->type_name("SIZE");
  command->add_flag("--overwrite", flags->overwrite, "Replace files that are there");
  add_threads_flag(*command, flags->threads);
  command->add_flag("--json", flags->json, "Print one JSON result on stdout");
  command->footer(
      "All of it runs on the CPU, calibration too, so there is no --device.\n"
      "A run that was ended, by Ctrl-C or otherwise, is gone on with by the same command.\n"
      "Examples:\n"
      "  intaglio quantize models/mini mini-int8\n"
      "  intaglio quantize models/mini/transformer mini.safetensors --scheme row\n"
      "  intaglio quantize models/mini mini-int8 --scheme convrot+smooth --protect auto\n"
      "  intaglio quantize models/mini styled --lora style.safetensors:0.8\n"
      "  intaglio generate --transformer mini.safetensors --prompt 'an owl'");
  command->callback([flags, group, &action] {
    flags->group_given = group->count() > 0;
    action = [flags] { return run_quantize(*flags); };
  });
}

}  // namespace intaglio::cli
