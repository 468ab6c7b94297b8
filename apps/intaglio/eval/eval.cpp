// `intaglio eval`: what arithmetic, a schedule or a file costs in quality, with intervals.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "argument_values.h"
#include "command.h"
#include "console.h"
#include "core/files.h"
#include "eval/baseline.h"
#include "eval/eval_report.h"
#include "eval/eval_run.h"
#include "eval/eval_score.h"
#include "interrupt.h"
#include "io/json_config.h"
#include "io/printable.h"
#include "options.h"
#include "pipeline/device.h"
#include "progress.h"
#include "prompts.h"

namespace intaglio::cli {
namespace {

using nlohmann::ordered_json;

constexpr size_t kMostPromptsBytes = size_t{1} << 28;

struct EvalFlags {
  std::string folder;
  // run
  std::string model = "mini", source = "bf16", prompts, size, seed = "0", shard = "0/1";
  std::vector<std::string> candidates;
  std::string baseline = "steps";
  int64_t traced = 4;
  std::string device = "auto";
  int threads = 0;
  bool quiet = false;
  // report
  ScoreFiles scores;
  std::string html;
  int64_t worst = 12;
  bool json = false;
};

// "0/4": a shard and how many there are.
Expected<EvalShard> parse_shard(const std::string& text) {
  EvalShard shard;
  const size_t slash = text.find('/');
  const auto number = whole_number(text.substr(0, slash));
  const auto count =
      slash == std::string::npos ? std::nullopt : whole_number(text.substr(slash + 1));
  if (number && count && *count >= 1 && *count <= 10000 && *number >= 0 && *number < *count)
    return EvalShard{*number, *count};
  return make_error(ErrorCode::kInvalidArgument,
                    "--shard: expected a number below a count, such as 0/4, found \"{}\"",
                    printable(text, 60));
}

// A line of --prompts; "expect" is the evaluation's own key.
Expected<EvalPrompt> parse_eval_prompt(std::string_view line, const std::string& where,
                                       uint64_t seed) {
  EvalPrompt prompt{.prompt = {}, .seed = seed};
  std::string plain(line);
  // What is no JSON is a text, or refused with the rest of the line.
  if (Expected<nlohmann::json> value = parse_json(line, where);
      value && value->is_object() && value->contains("expect")) {
    prompt.expect = (*value)["expect"];
    if (!prompt.expect.is_object())
      return make_error(ErrorCode::kInvalidArgument, "{}: \"expect\": expected an object", where);
    value->erase("expect");
    plain = value->dump();
  }
  std::vector<Error> errors;
  const std::vector<PromptLine> lines = parse_prompts(plain, where, errors);
  if (!errors.empty()) return tl::unexpected<Error>(errors.front());
  if (lines.size() != 1)
    return make_error(ErrorCode::kInvalidArgument, "{}: expected one prompt", where);
  const PictureSettings& settings = lines.front().settings;
  if (const Status good = check_line_settings(settings, where, {"seed", "expect"}); !good)
    return make_error(good.error().code, "{}; schedules belong to --source and --candidate",
                      good.error().message);
  prompt.prompt = settings.prompt;
  if (settings.seed) {
    INTAGLIO_ASSIGN(prompt.seed, parse_seed(*settings.seed));
  }
  return prompt;
}

Expected<std::vector<EvalPrompt>> read_eval_prompts(const std::string& file, uint64_t seed) {
  INTAGLIO_ASSIGN(const std::string text, read_text(file, kMostPromptsBytes));
  std::vector<EvalPrompt> prompts;
  std::string_view rest = text;
  for (int64_t number = 1; !rest.empty(); ++number) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    INTAGLIO_ASSIGN(EvalPrompt prompt, parse_eval_prompt(line, fmt::format("{}:{}", file, number),
                                                         seed + prompts.size()));
    prompts.push_back(std::move(prompt));
  }
  if (prompts.empty()) return make_error(ErrorCode::kInvalidArgument, "{}: no prompts in it", file);
  return prompts;
}

struct EvalChoice {
  EvalPlan plan;
  std::vector<Variant> variants;
  EvalShard shard;
  std::optional<int> gpu;
};

Expected<EvalChoice> choose(const EvalFlags& flags) {
  EvalChoice choice;
  INTAGLIO_ASSIGN(choice.shard, parse_shard(flags.shard));
  INTAGLIO_ASSIGN(choice.gpu, parse_device(flags.device));
  INTAGLIO_ASSIGN(const uint64_t seed, parse_seed(flags.seed));
  INTAGLIO_ASSIGN(Variant source, parse_variant("--source", flags.source, flags.model));
  choice.variants.push_back(std::move(source));
  for (const std::string& text : flags.candidates) {
    INTAGLIO_ASSIGN(Variant candidate, parse_variant("--candidate", text, flags.model));
    for (const Variant& other : choice.variants)
      if (other.name == candidate.name)
        return make_error(ErrorCode::kInvalidArgument,
                          "--candidate: two variants are called \"{}\", expected name=ANOTHER",
                          candidate.name);
    choice.variants.push_back(std::move(candidate));
  }
  INTAGLIO_ASSIGN(choice.plan.prompts, read_eval_prompts(flags.prompts, seed));
  INTAGLIO_ASSIGN(const std::shared_ptr<const Model> model,
                  open_model(choice.variants.front().model));
  choice.plan.width = model->info().default_width;
  choice.plan.height = model->info().default_height;
  if (!flags.size.empty()) {
    INTAGLIO_ASSIGN(const PictureSize size, parse_size(flags.size));
    choice.plan.width = size.width;
    choice.plan.height = size.height;
  }
  if (flags.baseline == "steps") {
    INTAGLIO_TRY(add_baselines(flags.model, choice.plan, choice.variants));
  } else if (flags.baseline != "off") {
    return make_error(ErrorCode::kInvalidArgument,
                      "--baseline: expected steps or off, found \"{}\"",
                      printable(flags.baseline, 60));
  }
  choice.plan.traced = std::min(flags.traced, static_cast<int64_t>(choice.plan.prompts.size()));
  for (const Variant& variant : choice.variants)
    choice.plan.variants.emplace_back(variant.name, variant.text);
  INTAGLIO_TRY(check_variants(choice.plan, choice.variants, choice.gpu, flags.threads));
  return choice;
}

Status run_eval_command(const EvalFlags& flags) {
  Progress progress(flags.quiet ? Verbosity::kQuiet : Verbosity::kNormal);
  if (flags.quiet) silence_warnings();
  INTAGLIO_ASSIGN(const EvalChoice choice, choose(flags));
  INTAGLIO_ASSIGN(const EvalFolder folder, EvalFolder::make(flags.folder, choice.plan));
  INTAGLIO_ASSIGN(const EvalCounts counts, run_eval({.folder = folder,
                                                     .variants = choice.variants,
                                                     .shard = choice.shard,
                                                     .gpu = choice.gpu,
                                                     .threads = flags.threads},
                                                    progress));
  progress.line(fmt::format("{} pictures drawn, {} traced; `intaglio eval report {}` sums up",
                            counts.pictures, counts.traces, flags.folder));
  return {};
}

std::string interval_text(const ordered_json& interval, int digits, double scale = 1.0) {
  if (!interval.is_object()) return "-";
  const auto value = [&](const char* key) { return interval[key].get<double>() * scale; };
  return fmt::format("{:.{}f} ({:.{}f} to {:.{}f})", value("mean"), digits, value("low"), digits,
                     value("high"), digits);
}

void print_baseline(const ordered_json& baseline) {
  print(
      Stream::kOut,
      "  against {}, of as many passes: PSNR {} dB, SSIM {}, latents {}, takes {} times as long\n",
      baseline["name"].get<std::string>(), interval_text(baseline["psnr"], 2),
      interval_text(baseline["ssim"], 4), interval_text(baseline["latents"], 4),
      interval_text(baseline["time"], 2));
}

// "name: figures", a line a figure.
void print_result(const ordered_json& result) {
  const auto judged = [&](const ordered_json& one) {
    for (const auto& judge : result["judges"]) {
      const auto name = judge.get<std::string>();
      if (!one.contains("judged") || !one["judged"].contains(name)) continue;
      const ordered_json& found = one["judged"][name];
      print(Stream::kOut, "  {}: right {} %", name, interval_text(found["right"], 1, 100));
      if (&one != &result["source"])
        print(Stream::kOut, ", against the source {} points",
              interval_text(found["right_difference"], 1, 100));
      print(Stream::kOut, "\n");
    }
  };
  const auto scored = [&](const ordered_json& one) {
    for (const auto& score : result["scores"]) {
      const auto name = score.get<std::string>();
      if (!one.contains("scored") || !one["scored"].contains(name)) continue;
      const ordered_json& found = one["scored"][name];
      print(Stream::kOut, "  {} {}", score_title(name), interval_text(found["score"], 4));
      if (&one != &result["source"] && found.contains("difference"))
        print(Stream::kOut, ", against the source {}", interval_text(found["difference"], 4));
      print(Stream::kOut, "\n");
    }
  };
  const ordered_json& source = result["source"];
  print(Stream::kOut, "{} (source): {} pictures, sampling {} ms\n",
        source["name"].get<std::string>(), source["pictures"].get<int64_t>(),
        interval_text(source["denoise_ms"], 1));
  judged(source);
  scored(source);
  for (const ordered_json& one : result["candidates"]) {
    print(Stream::kOut, "{}: {} pictures, {} of them equal\n", one["name"].get<std::string>(),
          one["pictures"].get<int64_t>(), one["equal"].get<int64_t>());
    print(Stream::kOut, "  PSNR {} dB, SSIM {}, MS-SSIM {}\n", interval_text(one["psnr"], 2),
          interval_text(one["ssim"], 4), interval_text(one["ms_ssim"], 4));
    print(Stream::kOut, "  relative error of latents {}, of velocities {}\n",
          interval_text(one["latents"], 4),
          one.contains("velocity") ? interval_text(one["velocity"], 4) : "-");
    print(Stream::kOut, "  sampling {} ms, {} times as fast\n", interval_text(one["denoise_ms"], 1),
          interval_text(one["speedup"], 2));
    if (one.contains("baseline")) print_baseline(one["baseline"]);
    judged(one);
    scored(one);
  }
}

Status score(const EvalFolder& folder, const EvalFlags& flags) {
  if (!flags.scores.any()) return {};
  if (flags.scores.lpips.size() > 2)
    return make_error(ErrorCode::kInvalidArgument,
                      "--lpips: given {} times, expected one or two files",
                      flags.scores.lpips.size());
  Progress progress(flags.quiet ? Verbosity::kQuiet : Verbosity::kNormal);
  INTAGLIO_ASSIGN(Context host, host_context(flags.threads));
  host.cancel = &interrupted;
  INTAGLIO_ASSIGN(const int64_t count, score_pictures(folder, flags.scores, host, progress));
  progress.line(fmt::format("{} pictures scored", count));
  return {};
}

Status report_command(const EvalFlags& flags) {
  INTAGLIO_ASSIGN(const EvalFolder folder, EvalFolder::open(flags.folder));
  INTAGLIO_TRY(score(folder, flags));
  INTAGLIO_ASSIGN(const ordered_json result, eval_result(folder));
  INTAGLIO_TRY(write_file_atomic(folder.path() / "report.json", json_text(result) + "\n"));
  const std::filesystem::path html =
      flags.html.empty() ? folder.path() / "report.html" : std::filesystem::path(flags.html);
  INTAGLIO_ASSIGN(const std::string page, eval_page(folder, result, flags.worst));
  INTAGLIO_TRY(write_file_atomic(html, page));
  if (flags.json) {
    print_json(result);
  } else {
    print_result(result);
    print(Stream::kOut, "{}\n", html.string());
  }
  return {};
}

void add_run(CLI::App& app, const std::shared_ptr<EvalFlags>& flags) {
  app.add_option("folder", flags->folder,
                 "Where pictures and figures go; one of an earlier run "
                 "goes on where that was stopped")
      ->type_name("DIR")
      ->required();
  app.add_option("--prompts", flags->prompts,
                 "What to draw, a text a line or a JSON object a line: \"prompt\" and, of its own, "
                 "\"seed\" and \"expect\", what the picture should show: {\"text\": \"HELLO\"} or "
                 "{\"object\": \"apple\"}, for judges")
      ->type_name("FILE|-")
      ->required();
  app.add_option("--model", flags->model, "Of every variant that names none, as generate has it")
      ->capture_default_str();
  app.add_option(
         "--source", flags->source,
         "What candidates are compared with: PRECISION or PRECISION,KEY=VALUE,... with the "
         "keys name, model, transformer, unconditional, text-encoder, vae, tokenizer, "
         "keep-bf16, lora, attention, cache, preset, steps, mu, std, shift, guidance (its items "
         "divided by ;)")
      ->type_name("VARIANT")
      ->capture_default_str();
  app.add_option("--candidate", flags->candidates, "What is judged; repeatable")
      ->type_name("VARIANT")
      ->required()
      ->take_all();
  app.add_option("--baseline", flags->baseline,
                 "What a candidate that computes fewer passes than the source (a mask, a preset of "
                 "fewer steps, guidance in some steps) is held against, too: steps, as many steps "
                 "of the source's schedule as compute as many passes, drawn beside it; off")
      ->type_name("steps|off")
      ->capture_default_str();
  app.add_option("--size", flags->size, "Width and height in pixels; by default the model's own")
      ->type_name("WxH");
  app.add_option("--seed", flags->seed,
                 "Seed of the first prompt, the next has one more; lines may have their own")
      ->type_name("NUMBER")
      ->capture_default_str();
  limit(app.add_option("--trace", flags->traced,
                       "Prompts, from the first on, whose velocities and linears are compared "
                       "step by step; both models are in memory then"),
        0, 1000000)
      ->capture_default_str();
  app.add_option("--shard", flags->shard,
                 "Draw only every COUNTth prompt, from NUMBER on, in the same folder")
      ->type_name("NUMBER/COUNT")
      ->capture_default_str();
  app.add_option("--device", flags->device, "auto, cpu, cuda or cuda:N")->capture_default_str();
  add_threads_flag(app, flags->threads);
  app.add_flag("--quiet", flags->quiet, "No progress and no notes on stderr, only errors");
  app.footer(
      "Examples:\n"
      "  intaglio eval run out --prompts prompts.jsonl --candidate int8\n"
      "  intaglio eval run out --prompts prompts.jsonl --source fp32 --candidate bf16 \\\n"
      "    --candidate int8 --candidate int8,model=smooth/,name=smooth\n"
      "  intaglio eval run out --prompts prompts.jsonl --candidate int8 --candidate bf16,steps=12\n"
      "  intaglio eval run out --prompts prompts.jsonl --candidate int8 --shard 0/4");
}

void add_scores(CLI::App& app, ScoreFiles& files) {
  app.add_option("--lpips", files.lpips,
                 "LPIPS against the source's pictures: a safetensors file of AlexNet or VGG16 and "
                 "of the layers that LPIPS adds, or one of each (twice)")
      ->type_name("FILE")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app.add_option("--clip", files.clip,
                 "CLIPScore, 100 times the cosine of prompt and picture: a folder of a CLIP model "
                 "or its name in the Hugging Face cache, such as openai/clip-vit-large-patch14")
      ->type_name("DIR");
  app.add_option("--pickscore", files.pickscore,
                 "PickScore: the folder of PickScore_v1, or its name in that cache")
      ->type_name("DIR");
  app.add_option("--image-reward", files.image_reward,
                 "ImageReward: a folder of ImageReward.safetensors (converted), med_config.json "
                 "and BERT's vocab.txt")
      ->type_name("DIR");
}

void add_report(CLI::App& app, const std::shared_ptr<EvalFlags>& flags) {
  app.add_option("folder", flags->folder, "Of `eval run`")->type_name("DIR")->required();
  app.add_option("--html", flags->html, "The page; by default report.html in the folder")
      ->type_name("FILE");
  limit(app.add_option("--worst", flags->worst, "Pictures of each candidate on the page"), 0, 1000)
      ->capture_default_str();
  add_scores(app, flags->scores);
  add_threads_flag(app, flags->threads);
  app.add_flag("--quiet", flags->quiet, "No progress and no notes on stderr, only errors");
  app.add_flag("--json", flags->json, "Print one JSON result on stdout");
  app.footer(
      "The result goes to report.json in the folder, too. Scores of networks are computed once, on "
      "the CPU, and kept in the folder: later reports have them without the flags.\n"
      "Examples:\n"
      "  intaglio eval report out\n"
      "  intaglio eval report out --html quality.html --worst 24\n"
      "  intaglio eval report out --lpips alexnet.safetensors --lpips alex.safetensors \\\n"
      "    --clip clip-vit-large-patch14/ --pickscore PickScore_v1/ --image-reward ImageReward/");
}

}  // namespace

void add_eval(CLI::App& app, Action& action) {
  auto flags = std::make_shared<EvalFlags>();
  CLI::App* command =
      app.add_subcommand("eval", "Measure what precisions, files and schedules cost in quality");
  command->require_subcommand(1);
  command->footer(
      "`eval run` draws the same prompts with the same seeds by a source and by candidates and "
      "measures how they differ; `eval report` sums up, with intervals, and writes a page. Judges "
      "that read or look (scripts/judges) add to the folder between the two.\n"
      "Examples:\n"
      "  intaglio eval run out --prompts prompts.jsonl --candidate int8\n"
      "  intaglio eval report out");
  const auto run = [flags, &action](Status (*what)(const EvalFlags&)) {
    action = [flags, what] {
      const Status status = what(*flags);
      if (status) return kExitOk;
      if (interrupted) return fail(Error{ErrorCode::kCancelled, "cancelled"}, flags->json);
      return fail(status.error(), flags->json);
    };
  };
  CLI::App* draw = command->add_subcommand("run", "Draw and measure");
  add_run(*draw, flags);
  draw->callback([run] { run(run_eval_command); });
  CLI::App* report = command->add_subcommand("report", "Sum up what was measured until now");
  add_report(*report, flags);
  report->callback([run] { run(report_command); });
}

}  // namespace intaglio::cli
