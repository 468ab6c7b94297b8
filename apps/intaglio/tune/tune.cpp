// `intaglio tune`: measures which int8 GEMM kernel is fastest on this GPU for the linears of a
// model, or which passes its pictures need, and keeps the result.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "argument_values.h"
#include "command.h"
#include "console.h"
#include "interrupt.h"
#include "io/printable.h"
#include "model_flags.h"
#include "models/parts/linear_shapes.h"
#include "models/registry.h"
#include "ops/cuda/tuning/s8_gemm_names.h"
#include "ops/cuda/tuning/tuner.h"
#include "ops/cuda/tuning/tuning_device.h"
#include "options.h"
#include "progress.h"
#include "run_files.h"
#include "shape_file.h"
#include "tune/tune_masks.h"
#include "tune/tune_tables.h"

namespace intaglio::cli {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kPixelsPerToken = 16;
constexpr int64_t kMaxTextTokens = 1 << 16;

struct TuneFlags {
  std::string model, shapes, card, export_file, import_file;
  std::optional<std::string> device, size;
  std::string text_tokens = "16-512";
  int rounds = 9, candidates = 12;
  bool list = false, again = false, json = false;
  MaskFlags masks;
  bool tunes() const { return !model.empty() || !shapes.empty(); }
};

// "16-512" or "512".
Status parse_text_tokens(const std::string& text, TokenCounts& tokens) {
  const size_t dash = text.find('-');
  const std::string first = text.substr(0, dash);
  const std::string last = dash == std::string::npos ? first : text.substr(dash + 1);
  tokens.first_text = whole_number(first).value_or(0);
  tokens.last_text = whole_number(last).value_or(0);
  if (tokens.first_text >= 1 && tokens.first_text <= tokens.last_text &&
      tokens.last_text <= kMaxTextTokens)
    return {};
  return make_error(ErrorCode::kInvalidArgument,
                    "--text-tokens: expected FIRST-LAST within 1-{}, found \"{}\"", kMaxTextTokens,
                    printable(text, 60));
}

std::vector<std::string> tunable_names() {
  std::vector<std::string> names = public_transformer_names();
  for (const std::string_view name : synthetic_model_names()) names.emplace_back(name);
  return names;
}

// Of a model that the engine draws with, by its name or its folder; sets whether a pass runs
// without text.
Expected<std::vector<ListedLinear>> linears_of_model(const std::string& name, TokenCounts& tokens) {
  if (const auto sized = synthetic_model(name)) {
    tokens.image_alone = (*sized)->transformers() > 1;
    return (*sized)->transformer(0, {})->listed_linears();
  }
  INTAGLIO_ASSIGN(const fs::path folder, resolve_model(name));
  INTAGLIO_ASSIGN(const JsonConfig config,
                  JsonConfig::open(folder / "transformer" / "config.json"));
  INTAGLIO_ASSIGN(const JsonConfig index, JsonConfig::open(folder / "model_index.json"));
  std::error_code ignored;
  tokens.image_alone = fs::exists(folder / "unconditional_transformer", ignored);
  const auto kind = find_model_kind(index);
  if (!kind) return transformer_linears(config);
  INTAGLIO_ASSIGN(const std::unique_ptr<Transformer> transformer,
                  (*kind)->make()->transformer_of(0, config, {}));
  return transformer->listed_linears();
}

Expected<std::vector<NamedShape>> shapes_of_model(const TuneFlags& flags) {
  TokenCounts tokens;
  INTAGLIO_ASSIGN(const PictureSize size, parse_size(flags.size.value_or("1024x1024")));
  INTAGLIO_TRY(check_size(size, kPixelsPerToken));
  tokens.image = size.width / kPixelsPerToken * (size.height / kPixelsPerToken);
  INTAGLIO_TRY(parse_text_tokens(flags.text_tokens, tokens));
  if (const auto known = public_transformer_config(flags.model)) {
    INTAGLIO_ASSIGN(const JsonConfig config, JsonConfig::parse(*known, flags.model));
    INTAGLIO_ASSIGN(const std::vector<ListedLinear> linears, transformer_linears(config));
    return bucketed_shapes(linears, tokens);
  }
  INTAGLIO_ASSIGN(const std::vector<ListedLinear> linears, linears_of_model(flags.model, tokens));
  return bucketed_shapes(linears, tokens);
}

Expected<std::vector<cuda::S8GemmShape>> shapes_to_tune(const TuneFlags& flags) {
  std::vector<cuda::S8GemmShape> shapes;
  if (!flags.shapes.empty()) {
    INTAGLIO_ASSIGN(const std::vector<ShapeLine> lines, read_shape_file(flags.shapes));
    for (const ShapeLine& line : lines) shapes.push_back(line.shape);
  }
  if (!flags.model.empty()) {
    INTAGLIO_ASSIGN(const std::vector<NamedShape> named, shapes_of_model(flags));
    for (const NamedShape& item : named) {
      INTAGLIO_TRY(check_shape(item.shape, flags.model + " " + item.name));
      shapes.push_back(item.shape);
    }
  }
  return shapes;
}

void show_progress(Progress& progress, const cuda::TunerProgress& p) {
  if (!progress.redraws()) return;  // elsewhere the results are the progress
  // A shape is one step; its rounds are percents of it.
  constexpr int64_t kPercent = 100;
  const int64_t part = p.stage == cuda::TunerStage::kMeasure
                           ? kPercent * static_cast<int64_t>(p.step) / static_cast<int64_t>(p.steps)
                       : p.stage == cuda::TunerStage::kDone ? kPercent
                                                            : 0;
  progress.step(
      fmt::format("tuning {}/{}: {}", p.shape_index + 1, p.shape_count, cuda::describe(p.shape)),
      static_cast<int64_t>(p.shape_index) * kPercent + part,
      static_cast<int64_t>(p.shape_count) * kPercent);
}

nlohmann::ordered_json shape_json(const cuda::TunedShape& shape) {
  nlohmann::ordered_json json = entry_json({shape.shape, shape.best, shape.median_ms});
  json["state"] = shape.state == cuda::TunedState::kTuned          ? "tuned"
                  : shape.state == cuda::TunedState::kAlreadyTuned ? "already tuned"
                                                                   : "failed";
  if (shape.state != cuda::TunedState::kTuned) {
    for (const char* key : {"family", "config", "band", "split_k", "median_ms"}) json.erase(key);
  }
  if (!shape.problem.empty()) json["problem"] = shape.problem;
  if (shape.heuristic_ms > 0) json["heuristic_ms"] = shape.heuristic_ms;
  nlohmann::ordered_json candidates = nlohmann::ordered_json::array();
  for (const cuda::TunedCandidate& c : shape.candidates) {
    nlohmann::ordered_json item{{"choice", cuda::describe(c.choice)},
                                {"predicted_ms", c.predicted_ms},
                                {"median_ms", c.median_ms},
                                {"times_ms", c.times_ms}};
    if (!c.problem.empty()) item["problem"] = c.problem;
    candidates.push_back(std::move(item));
  }
  json["candidates"] = std::move(candidates);
  return json;
}

void print_shape(const cuda::TunedShape& shape) {
  std::string text;
  switch (shape.state) {
    case cuda::TunedState::kAlreadyTuned:
      text = "already tuned";
      break;
    case cuda::TunedState::kFailed:
      text = "failed: " + shape.problem;
      break;
    case cuda::TunedState::kTuned: {
      const double operations = 2e-9 * static_cast<double>(shape.shape.m) *
                                static_cast<double>(shape.shape.n) *
                                static_cast<double>(shape.shape.k);
      text = fmt::format("{}: {:.4f} ms, {:.0f} TOPS", cuda::describe(shape.best), shape.median_ms,
                         operations / shape.median_ms);
      if (shape.heuristic_ms > 0)
        text += fmt::format(", {:.2f}x untuned", shape.heuristic_ms / shape.median_ms);
    }
  }
  print(Stream::kOut, "{}\n  {}\n", cuda::describe(shape.shape), text);
  for (const cuda::TunedCandidate& c : shape.candidates) {
    if (!c.problem.empty()) print_error(fmt::format("{}: {}", cuda::describe(c.choice), c.problem));
  }
}

// Tunes `shapes` on `gpu`. False if a shape failed.
Expected<bool> run_tuning(const TuneFlags& flags, cuda::TuningDevice& gpu,
                          std::span<const cuda::S8GemmShape> shapes, nlohmann::ordered_json& out) {
  std::vector<cuda::TileConfig> configs;
  for (const cuda::TileConfig& config : cuda::tile_configs(gpu.device())) {
    if (gpu.has_config(config)) configs.push_back(config);
  }
  const cuda::TuningKey key = cuda::tuning_key(gpu.device());
  cuda::TuningCache cache = cuda::TuningCache::open(key, cuda::tuning_folder());
  for (const std::string& note : cache.notes()) print_warning(note);
  if (!flags.json) print(Stream::kOut, "{}, {} kernels\n", cuda::describe(key), configs.size());

  Progress progress;
  cuda::TunerOptions options;
  options.rounds = flags.rounds;
  options.max_candidates = static_cast<size_t>(flags.candidates);
  options.cancel = &interrupted;
  cuda::TunerCallbacks callbacks;
  callbacks.prepare = [&](const cuda::S8GemmShape& shape) { return gpu.prepare(shape); };
  callbacks.check = [&](const cuda::S8GemmChoice& choice, const cuda::S8GemmShape& shape) {
    return gpu.check(choice, shape);
  };
  callbacks.measure = [&](const cuda::S8GemmChoice& choice, const cuda::S8GemmShape& shape) {
    return gpu.measure_ms(choice, shape);
  };
  callbacks.save = [&](const cuda::TuningEntry& entry) { return cache.save({&entry, 1}); };
  callbacks.progress = [&](const cuda::TunerProgress& p) { show_progress(progress, p); };
  callbacks.finished = [&](const cuda::TunedShape& shape) {
    progress.clear();
    if (!flags.json) print_shape(shape);
  };
  if (!flags.again) {
    callbacks.is_tuned = [&](const cuda::S8GemmShape& shape) {
      return cache.user().find(shape) != nullptr;
    };
  }
  const Expected<cuda::TuningRun> run =
      cuda::tune_s8_gemm(gpu.device(), shapes, configs, options, callbacks);
  progress.clear();
  if (!run) return tl::unexpected<Error>(run.error());
  if (run->cancelled) {
    return make_error(ErrorCode::kCancelled, "cancelled; {} shapes are tuned and kept",
                      run->shapes.size());
  }
  bool good = true;
  out["device"] = key_json(key);
  out["cache"] = cache.file().string();
  out["shapes"] = nlohmann::ordered_json::array();
  for (const cuda::TunedShape& shape : run->shapes) {
    // A kernel that computes wrong is a bug to be seen, even where another one serves.
    const bool wrong = std::any_of(shape.candidates.begin(), shape.candidates.end(),
                                   [](const cuda::TunedCandidate& c) { return c.wrong; });
    good = good && !wrong && shape.state != cuda::TunedState::kFailed;
    out["shapes"].push_back(shape_json(shape));
  }
  if (!flags.json) print(Stream::kOut, "kept in {}\n", cache.file().string());
  return good;
}

Status run_list(const TuneFlags& flags, nlohmann::ordered_json& out) {
  INTAGLIO_ASSIGN(const fs::path folder, cuda::tuning_folder());
  const cuda::TuningFiles files = cuda::list_tuning_files(folder);
  for (const std::string& note : files.notes) print_warning(note);
  out["tables"] = nlohmann::ordered_json::array();
  if (!flags.json && files.tables.empty())
    print(Stream::kOut, "{}: no tuning results\n", folder.string());
  for (const auto& [path, table] : files.tables) {
    if (table.key.card.find(flags.card) == std::string::npos) continue;
    nlohmann::ordered_json item = key_json(table.key);
    item["file"] = path.string();
    item["entries"] = nlohmann::ordered_json::array();
    if (!flags.json) print(Stream::kOut, "{}\n  {}\n", cuda::describe(table.key), path.string());
    for (const cuda::TuningEntry& entry : table.entries()) {
      item["entries"].push_back(entry_json(entry));
      if (!flags.json) {
        print(Stream::kOut, "  {:<48} {:<46} {:.4f} ms\n", cuda::describe(entry.shape),
              cuda::describe(entry.choice), entry.median_ms);
      }
    }
    out["tables"].push_back(std::move(item));
  }
  return {};
}

Expected<std::unique_ptr<cuda::TuningDevice>> open_card(int ordinal) {
#if defined(INTAGLIO_HAS_CUDA)
  return cuda::open_tuning_device(ordinal);
#else
  return make_error(ErrorCode::kUnsupported,
                    "cuda:{}: this build has no CUDA, so there is nothing to tune", ordinal);
#endif
}

// In this order: what is imported need not be tuned, what was tuned is exported and listed.
Expected<bool> run_tune(const TuneFlags& flags, nlohmann::ordered_json& out) {
  if (flags.masks.budgets) {
    INTAGLIO_TRY(tune_masks(flags.masks, flags.model.empty() ? "mini" : flags.model, flags.size,
                            flags.device, flags.json, out));
    return true;
  }
  if (!flags.tunes() && !flags.list && flags.export_file.empty() && flags.import_file.empty()) {
    return make_error(
        ErrorCode::kInvalidArgument,
        "nothing to do: expected --model, --shapes, --steps-budget, --list, --export or --import");
  }
  INTAGLIO_TRY(
      check_files({.outputs = {{"--export", flags.export_file}},
                   .inputs = {{"--import", flags.import_file}, {"--shapes", flags.shapes}}}));
  INTAGLIO_ASSIGN(const int ordinal, parse_cuda_device(flags.device.value_or("cuda:0")));
  std::vector<cuda::S8GemmShape> shapes;
  if (flags.tunes()) {
    INTAGLIO_ASSIGN(shapes, shapes_to_tune(flags));
  }
  Expected<std::unique_ptr<cuda::TuningDevice>> gpu = open_card(ordinal);
  if (flags.tunes() && !gpu) return tl::unexpected<Error>(gpu.error());
  std::optional<cuda::TuningKey> key;
  if (gpu) key = cuda::tuning_key((*gpu)->device());
  bool good = true;
  if (!flags.import_file.empty()) {
    INTAGLIO_ASSIGN(const ImportedTable imported, import_table(flags.import_file, key));
    for (const std::string& note : imported.notes) print_warning(note);
    if (!flags.json) {
      print(Stream::kOut, "imported {} results of {} into {}\n", imported.table.size(),
            cuda::describe(imported.table.key), imported.file.string());
    }
    out["imported"] = {{"results", imported.table.size()}, {"cache", imported.file.string()}};
  }
  if (flags.tunes()) {
    INTAGLIO_ASSIGN(good, run_tuning(flags, **gpu, shapes, out));
  }
  if (!flags.export_file.empty()) {
    INTAGLIO_ASSIGN(const cuda::TuningTable table,
                    export_table(flags.export_file, key, flags.card));
    if (!flags.json) {
      print(Stream::kOut, "exported {} results of {} to {}\n", table.size(),
            cuda::describe(table.key), flags.export_file);
    }
    out["exported"] = {{"results", table.size()}, {"file", flags.export_file}};
  }
  if (flags.list) INTAGLIO_TRY(run_list(flags, out));
  return good;
}

}  // namespace

void add_tune(CLI::App& app, Action& action) {
  auto flags = std::make_shared<TuneFlags>();
  CLI::App* command = app.add_subcommand("tune",
                                         "Find the fastest int8 kernels of this GPU for a model's "
                                         "sizes, or the passes that its pictures need");
  command
      ->add_option(
          "--model", flags->model,
          fmt::format("A model's folder, mini, or one of {}", fmt::join(tunable_names(), ", ")))
      ->type_name("DIR|NAME");
  command
      ->add_option("--shapes", flags->shapes,
                   "Lines of \"[name] m n k [swiglu] [bf16]\" instead of, or with, --model")
      ->type_name("FILE");
  command
      ->add_option("--size", flags->size,
                   "Picture size to tune --model for; by default 1024x1024, for --steps-budget "
                   "the model's own")
      ->type_name("WxH");
  command
      ->add_option("--text-tokens", flags->text_tokens,
                   "Prompt lengths to tune --model for; all buckets between")
      ->type_name("FIRST-LAST")
      ->capture_default_str();
  command
      ->add_option("--device", flags->device,
                   "The GPU, by default cuda:0; --steps-budget takes auto and cpu, too")
      ->type_name("cuda:N");
  add_mask_flags(*command, flags->masks);
  limit(command->add_option("--rounds", flags->rounds, "Timed rounds of a shape"), 1, 1000)
      ->capture_default_str();
  limit(command->add_option("--candidates", flags->candidates,
                            "Kernels tried, the most promising first"),
        1, 1000)
      ->capture_default_str();
  command->add_flag("--again", flags->again, "Tune what is tuned already as well");
  command->add_option("--import", flags->import_file, "Add results that --export wrote")
      ->type_name("FILE");
  command->add_option("--export", flags->export_file, "Write the results of one card to a file")
      ->type_name("FILE");
  command->add_option("--card", flags->card, "Part of a card's name, for --export and --list")
      ->type_name("NAME");
  command->add_flag("--list", flags->list, "Show the results that are kept");
  command->add_flag("--json", flags->json, "Print one JSON result on stdout");
  command->footer(
      "Results are kept in $XDG_CACHE_HOME/intaglio/tuning (else ~/.cache/intaglio/tuning), one "
      "file "
      "a card, and used from then on.\n"
      "Ctrl-C keeps what is done; the same command goes on from there. --list, --export and "
      "--import "
      "need no GPU.\n"
      "Examples:\n"
      "  intaglio tune --model ideogram4\n"
      "  intaglio tune --shapes bench/shapes/flux2.txt --export rtx3090.json\n"
      "  intaglio tune --import rtx3090.json --list\n"
      "  intaglio tune --model mini --steps-budget 0.5,0.33");
  command->callback([flags, &action] {
    action = [flags] {
      nlohmann::ordered_json out{{"status", "ok"}};
      const Expected<bool> good = run_tune(*flags, out);
      if (!good) return fail(good.error(), flags->json);
      if (!*good) out["status"] = "failed";
      if (flags->json) print_json(out);
      return *good ? kExitOk : kExitFailure;
    };
  });
}

}  // namespace intaglio::cli
