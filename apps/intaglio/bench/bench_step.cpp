// `intaglio bench step`: one pass of the diffusion transformer at full size, precisions side by
// side, and where the time goes.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <optional>
#include <string_view>

#include "argument_values.h"
#include "bench/bench.h"
#include "bench/bench_memory.h"
#include "bench/step_ops.h"
#include "bench/step_streaming.h"
#include "command.h"
#include "console.h"
#include "core/files.h"
#include "core/memory.h"
#include "core/memory_info.h"
#include "core/recording.h"
#include "interrupt.h"
#include "lora_flags.h"
#include "model_flags.h"
#include "models/model.h"
#include "options.h"
#include "pipeline/device.h"
#include "pipeline/memory_plan.h"
#include "run_files.h"

namespace intaglio::cli {
namespace {

struct StepFlags {
  std::string device = "auto", precisions = "int8,bf16,int8-dequant", attention = "auto";
  std::string model = "ideogram4", size = "1024x1024";
  int64_t text_tokens = 512, layers = 0;  // 0: the model's
  int rounds = 7, threads = 0;
  std::string json, profile;
  std::optional<std::string> vram_budget;
  std::vector<std::string> loras;
  bool two_streams = false;
};

constexpr int64_t kPlannedSteps = 48;  // of a picture, for the budget

Expected<std::vector<AttentionChoice>> parse_attentions(std::string_view text) {
  std::vector<AttentionChoice> kinds;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    INTAGLIO_ASSIGN(const auto kind, parse_attention(text.substr(begin, end - begin)));
    kinds.push_back(kind);
    begin = end + 1;
  }
  return kinds;
}

// What a result is called: the precision, and the products of attention where they were asked for.
std::string model_name(const std::string& precision, const AttentionChoice& attention) {
  if (!attention.scores) return precision;
  if (attention.values == AttentionValues::kS8) return precision + "/int8-values";
  return precision + (attention.scores == AttentionScores::kS8 ? "/int8-scores" : "/float-scores");
}

// A kind of pass.
struct TimedPass {
  const char* name = "";
  int64_t text_tokens = 0;
};

// The transformer at one precision, with a session and a recording of each kind of pass.
struct Loaded {
  std::string precision;  // and its attention, see model_name
  std::unique_ptr<Transformer> transformer;
  std::vector<TransformerSession> sessions;
  AlignedBuffer velocity;
  std::vector<std::unique_ptr<Recording>> recordings;
};

struct Bench {
  StepFlags flags;
  std::shared_ptr<const Model> model;
  std::vector<TimedPass> passes;  // with the text, and without where the model has such passes
  DeviceContext device;
  Arena arena;
  int64_t grid_h = 0, grid_w = 0;
  uint64_t vram_budget = 0;  // 0: all layers are resident
  double copy_rate = 0.0;    // bytes a second from pinned host memory, if layers may stream
  AlignedBuffer latents, features;
  std::vector<std::unique_ptr<Loaded>> models;
  // Of --two-streams: where the unconditional pass runs beside the conditional one.
  DeviceContext second;
  Arena second_arena;
  AlignedBuffer second_velocity;
  std::unique_ptr<Recording> beside;

  Context& context() { return device.context; }
  int64_t image_tokens() const { return grid_h * grid_w; }
  PassSize size(const TimedPass& pass) const {
    return {.text_tokens = pass.text_tokens, .grid_h = grid_h, .grid_w = grid_w};
  }
};

// The share of a budget that `generate` would leave to the layers of this transformer: beside it
// are the unconditional one, the VAE and their activations.
Expected<uint64_t> layer_budget(const Bench& bench, const TransformerOptions& options) {
  const Context& context = bench.device.context;
  if (bench.vram_budget == 0 || context.gpu == nullptr) return 0;
  INTAGLIO_ASSIGN(
      const MemoryNeeds needs,
      guided_picture_needs(
          context, *bench.model, {.selection = options.selection, .adapters = options.adapters},
          {.text_tokens = bench.flags.text_tokens, .grid_h = bench.grid_h, .grid_w = bench.grid_w},
          kPlannedSteps));
  const auto plan = plan_memory(needs, {.bytes = bench.vram_budget, .stream = true});
  if (!plan)
    return make_error(plan.error().code, "--vram-budget: {} {}",
                      precision_name(options.selection.precision), plan.error().message);
  return plan->budgets.front().value_or(0);
}

std::vector<std::string> precisions_known() {
  const std::span<const std::string_view> names = precision_names();
  return {names.begin(), names.end()};
}

Expected<TransformerOptions> options_of(const Bench& bench, const std::string& precision,
                                        const AttentionChoice& attention) {
  TransformerOptions options;
  options.selection.precision = *precision_from_name(precision);
  INTAGLIO_TRY(options.selection.check_device(bench.device.context));
  options.attention = attention;
  for (const std::string& lora : bench.flags.loras) {
    INTAGLIO_ASSIGN(AdapterUse use, open_benchmark_lora(lora, *bench.model));
    options.adapters.push_back(std::move(use));
  }
  INTAGLIO_TRY(bench.model->check_adapters(options.adapters));
  INTAGLIO_ASSIGN(options.weight_budget, layer_budget(bench, options));
  return options;
}

Status add_model(Bench& bench, const std::string& precision, const AttentionChoice& attention) {
  Context& context = bench.context();
  INTAGLIO_ASSIGN(TransformerOptions options, options_of(bench, precision, attention));
  auto model = std::make_unique<Loaded>();
  model->precision = model_name(precision, attention);
  INTAGLIO_ASSIGN(model->transformer,
                  bench.model->load_transformer(context, 0, std::move(options)));
  size_t scratch = 0;
  for (const TimedPass& pass : bench.passes)
    scratch = std::max(scratch, model->transformer->scratch_bytes(context, bench.size(pass), 1));
  if (bench.arena.capacity() < scratch) {
    bench.arena = Arena();
    INTAGLIO_ASSIGN(AlignedBuffer block, allocate(context, scratch));
    bench.arena = Arena(std::move(block));
  }
  const float time = 0.5f;
  model->sessions.resize(bench.passes.size());
  for (size_t i = 0; i < bench.passes.size(); ++i) {
    INTAGLIO_TRY(model->transformer->prepare(
        context, {.tokens = bench.passes[i].text_tokens, .features = bench.features.as<float>()},
        bench.grid_h, bench.grid_w, std::span(&time, 1), model->sessions[i]));
    INTAGLIO_TRY(model->transformer->select_step(context, model->sessions[i], 0));
  }
  INTAGLIO_ASSIGN(model->velocity, allocate(context, bench.latents.size()));
  INTAGLIO_TRY(synchronize(context));
  bench.models.push_back(std::move(model));
  return {};
}

// All models stay loaded beside each other. With a budget the layers that do not fit stream.
Status check_memory_of(const Bench& bench, const std::vector<std::string>& precisions,
                       const std::vector<AttentionChoice>& attentions) {
  const Context& context = bench.device.context;
  if (bench.vram_budget > 0) return {};
  std::vector<PassSize> sizes;
  for (const TimedPass& pass : bench.passes) sizes.push_back(bench.size(pass));
  uint64_t all = 0, scratch = 0;
  int64_t layers = 0, text_dim = 0;
  for (const AttentionChoice& attention : attentions) {
    for (const std::string& precision : precisions) {
      INTAGLIO_ASSIGN(TransformerOptions options, options_of(bench, precision, attention));
      const std::unique_ptr<Transformer> transformer =
          bench.model->transformer(0, std::move(options));
      INTAGLIO_ASSIGN(const TransformerBytes bytes,
                      transformer_bytes(context, *transformer, sizes));
      all += bytes.weights + bytes.sessions;
      scratch = std::max(scratch, std::max(bytes.scratch, bytes.staging));
      layers = transformer->layers();
      text_dim = transformer->text_dim();
    }
  }
  const auto features = static_cast<uint64_t>(bench.flags.text_tokens * text_dim);
  return check_memory(context, fmt::format("{} layers at {}", layers, bench.flags.precisions),
                      all + scratch + features * sizeof(float));
}

// Recordings refer to the arena's memory, so they are made when it has its final size.
void make_recordings(Bench& bench) {
  for (const auto& owner : bench.models) {
    Loaded* const m = owner.get();
    for (const TransformerSession& session : m->sessions) {
      m->recordings.push_back(std::make_unique<Recording>([&bench, m, &session] {
        return m->transformer->forward(bench.context(), session, bench.latents.as<float>(),
                                       m->velocity.as<float>());
      }));
    }
  }
}

std::vector<Candidate> make_candidates(Bench& bench) {
  std::vector<Candidate> candidates;
  for (const auto& owner : bench.models) {
    for (size_t i = 0; i < bench.passes.size(); ++i) {
      Recording* const recording = owner->recordings[i].get();
      Candidate candidate;
      candidate.name = fmt::format("{} {}", owner->precision, bench.passes[i].name);
      candidate.run = [&bench, recording]() -> Status {
        INTAGLIO_TRY(recording->run(bench.context()));
        return synchronize(bench.context());
      };
      candidates.push_back(std::move(candidate));
    }
  }
  return candidates;
}

// Both passes of a step by the first model: one after the other on a stream, and each on a stream
// of its own.
Status add_two_streams(Bench& bench, std::vector<Candidate>& candidates) {
  Loaded* const m = bench.models.front().get();
  INTAGLIO_ASSIGN(bench.second, open_device(bench.context().gpu->ordinal, bench.flags.threads));
  Context& second = bench.second.context;
  second.scratch = &bench.second_arena;
  INTAGLIO_ASSIGN(AlignedBuffer block, allocate(second, bench.arena.capacity()));
  bench.second_arena = Arena(std::move(block));
  INTAGLIO_ASSIGN(bench.second_velocity, allocate(second, bench.latents.size()));
  bench.beside = std::make_unique<Recording>([&bench, m] {
    return m->transformer->forward(bench.second.context, m->sessions.back(),
                                   bench.latents.as<float>(), bench.second_velocity.as<float>());
  });
  const auto add = [&](const char* name, Recording* unconditional, Context& context) {
    Candidate candidate;
    candidate.name = m->precision + name;
    candidate.run = [&bench, m, unconditional, &context]() -> Status {
      INTAGLIO_TRY(m->recordings.front()->run(bench.context()));
      INTAGLIO_TRY(unconditional->run(context));
      INTAGLIO_TRY(synchronize(context));
      return synchronize(bench.context());
    };
    candidates.push_back(std::move(candidate));
  };
  add(" both, one stream", m->recordings.back().get(), bench.context());
  add(" both, two streams", bench.beside.get(), second);
  return {};
}

PassSizes sizes_of(const Bench& bench, const Loaded& model, const TimedPass& pass) {
  return {.shape = {.width = model.transformer->width(),
                    .linears = bench.model->transformer(0, {})->listed_linears(),
                    .text_tokens = pass.text_tokens,
                    .image_tokens = bench.image_tokens()},
          .layers = model.transformer->layers(),
          .precision = model.transformer->selection().precision,
          .s8_scores = model.transformer->uses_s8_scores(bench.device.context, bench.size(pass))};
}

// Compute and copies of each kind of pass, each from a pass that is not recorded.
Status report_streaming(Bench& bench, Stream out, nlohmann::ordered_json& results) {
  const size_t kinds = bench.passes.size();
  for (size_t i = 0; i < kinds * bench.models.size(); ++i) {
    const Loaded& m = *bench.models[i / kinds];
    const uint64_t bytes = m.transformer->streamed_bytes();
    nlohmann::ordered_json& json = results[i];
    json["streamed_layers"] = m.transformer->streamed_layers();
    json["streamed_bytes"] = bytes;
    if (i % kinds == 0)
      print(out, "{}{}: {} of {} layers stream, {} a pass\n", i == 0 ? "\n" : "", m.precision,
            m.transformer->streamed_layers(), m.transformer->layers(), format_bytes(bytes));
    if (bytes == 0) continue;
    Profile profile;
    INTAGLIO_TRY(m.transformer->forward(bench.context(), m.sessions[i % kinds],
                                        bench.latents.as<float>(), m.velocity.as<float>(),
                                        &profile));
    INTAGLIO_TRY(collect_gpu_spans(bench.context(), profile));
    const StreamedPass pass = streamed_pass(profile, bytes, bench.copy_rate);
    print(out, "  {:<26} compute {:.2f} ms, copies {:.2f} ms: at least {:.2f} ms\n",
          json["pass"].get<std::string>(), pass.compute_ms, pass.copy_ms, pass.least_ms());
    json["slot_bytes"] = m.transformer->streamer()->device_bytes();
    json["compute_ms"] = pass.compute_ms;
    json["copy_ms"] = pass.copy_ms;
    json["least_ms"] = pass.least_ms();
  }
  print(out, "large copies from pinned host memory: {:.1f} GB/s\n", bench.copy_rate * 1e-9);
  return {};
}

// Device time of each kind of op in one pass that is not recorded, and the trace of the first
// model.
Status profile_models(Bench& bench, Stream out, nlohmann::ordered_json& json) {
  for (const auto& owner : bench.models) {
    Profile profile;
    INTAGLIO_TRY(owner->transformer->forward(bench.context(), owner->sessions.front(),
                                             bench.latents.as<float>(), owner->velocity.as<float>(),
                                             &profile));
    INTAGLIO_TRY(collect_gpu_spans(bench.context(), profile));
    const std::vector<OpTime> ops =
        op_times(profile, sizes_of(bench, *owner, bench.passes.front()));
    double total = 0.0;
    for (const OpTime& op : ops) total += op.time_ms;
    print(out, "\n{}, one pass with {} text tokens\n{:<18} {:>6} {:>10} {:>7}\n", owner->precision,
          bench.flags.text_tokens, "op", "calls", "ms", "share");
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const OpTime& op : ops) {
      std::string rate;
      if (op.operations > 0) rate = fmt::format("{:.0f} TOP/s", op.operations / op.time_ms * 1e-9);
      if (op.bytes > 0) rate = fmt::format("{:.0f} GB/s", op.bytes / op.time_ms * 1e-6);
      print(out, "{:<18} {:>6} {:>10.3f} {:>6.1f}%  {}\n", op.name, op.calls, op.time_ms,
            100.0 * op.time_ms / total, rate);
      list.push_back({{"op", op.name},
                      {"calls", op.calls},
                      {"time_ms", op.time_ms},
                      {"operations", op.operations},
                      {"bytes", op.bytes}});
    }
    json.push_back({{"precision", owner->precision}, {"time_ms", total}, {"ops", list}});
    if (!bench.flags.profile.empty() && owner == bench.models.front())
      INTAGLIO_TRY(write_file_atomic(bench.flags.profile, chrome_trace(profile)));
  }
  return {};
}

Status run_step(const StepFlags& flags) {
  INTAGLIO_TRY(check_files(
      {.outputs = {{"--json", flags.json}, {"--profile", flags.profile}}, .inputs = {}}));
  INTAGLIO_ASSIGN(const std::vector<std::string> precisions,
                  parse_precisions(flags.precisions, precisions_known()));
  INTAGLIO_ASSIGN(const auto attentions, parse_attentions(flags.attention));
  INTAGLIO_ASSIGN(const PictureSize size, parse_size(flags.size));
  Bench bench;
  bench.flags = flags;
  INTAGLIO_ASSIGN(bench.model, benchmark_model(flags.model, flags.layers));
  const int64_t pixels = bench.model->info().pixels_per_token;
  INTAGLIO_TRY(check_size(size, pixels));
  bench.passes = {{"conditional", flags.text_tokens}};
  if (bench.model->transformers() > 1) bench.passes.push_back({"unconditional", 0});
  uint64_t vram_budget = 0;
  if (flags.vram_budget) {
    INTAGLIO_ASSIGN(vram_budget, parse_memory("--vram-budget", *flags.vram_budget));
  }
  INTAGLIO_ASSIGN(const std::optional<int> gpu, parse_device(flags.device));
  INTAGLIO_ASSIGN(bench.device, open_device(gpu, flags.threads));
  Context& context = bench.context();
  context.cancel = &interrupted;
  context.scratch = &bench.arena;
  bench.grid_h = size.height / pixels;
  bench.grid_w = size.width / pixels;
  bench.vram_budget = context.gpu != nullptr ? vram_budget : 0;
  const std::unique_ptr<Transformer> sized = bench.model->transformer(0, {});
  if (bench.vram_budget > 0) {
    INTAGLIO_ASSIGN(bench.copy_rate, host_copy_rate(context));
  }
  INTAGLIO_TRY(check_memory_of(bench, precisions, attentions));
  INTAGLIO_ASSIGN(bench.latents,
                  normal_values(context, bench.image_tokens() * sized->channels(), 11));
  INTAGLIO_ASSIGN(bench.features,
                  normal_values(context, flags.text_tokens * sized->text_dim(), 12));
  for (const AttentionChoice& attention : attentions) {
    for (const std::string& precision : precisions)
      INTAGLIO_TRY(add_model(bench, precision, attention));
  }
  make_recordings(bench);

  std::vector<Candidate> candidates = make_candidates(bench);
  if (flags.two_streams && context.gpu != nullptr) INTAGLIO_TRY(add_two_streams(bench, candidates));
  INTAGLIO_TRY(run_interleaved(candidates, flags.rounds));
  Stream out = flags.json == "-" ? Stream::kErr : Stream::kOut;
  print(out, "one pass of {}, {} layers of width {}, {}x{} pixels, on {}\n",
        bench.model->info().name, sized->layers(), sized->width(), size.width, size.height,
        device_name(context));
  print(out, "{:<28} {:>10} {:>22} {:>10}\n", "pass", "median ms", "min .. max", "TOP/s");
  nlohmann::ordered_json results = nlohmann::ordered_json::array();
  nlohmann::ordered_json steps = nlohmann::ordered_json::array();
  const size_t kinds = bench.passes.size();
  for (size_t i = kinds * bench.models.size(); i < candidates.size(); ++i) {
    const Spread spread = spread_of(candidates[i].times_ms);
    print(out, "{:<28} {:>10.2f} {:>22}\n", candidates[i].name, spread.median,
          fmt::format("{:.2f} .. {:.2f}", spread.min, spread.max));
    steps.push_back({{"step", candidates[i].name},
                     {"median_ms", spread.median},
                     {"min_ms", spread.min},
                     {"max_ms", spread.max}});
  }
  for (size_t i = 0; i < kinds * bench.models.size(); ++i) {
    const Loaded& model = *bench.models[i / kinds];
    const TimedPass& pass = bench.passes[i % kinds];
    const Spread spread = spread_of(candidates[i].times_ms);
    const double rate = pass_operations(sizes_of(bench, model, pass)) / spread.median * 1e-9;
    print(out, "{:<28} {:>10.2f} {:>22} {:>10.0f}\n", candidates[i].name, spread.median,
          fmt::format("{:.2f} .. {:.2f}", spread.min, spread.max), rate);
    results.push_back({{"pass", candidates[i].name},
                       {"text_tokens", pass.text_tokens},
                       {"image_tokens", bench.image_tokens()},
                       {"median_ms", spread.median},
                       {"min_ms", spread.min},
                       {"max_ms", spread.max},
                       {"weight_bytes", model.transformer->weight_bytes()}});
  }
  if (bench.vram_budget > 0) INTAGLIO_TRY(report_streaming(bench, out, results));
  nlohmann::ordered_json profiles = nlohmann::ordered_json::array();
  INTAGLIO_TRY(profile_models(bench, out, profiles));
  if (flags.json.empty()) return {};
  nlohmann::ordered_json json{{"benchmark", "step"}, {"machine", machine_json(context)}};
  json["device"] = device_name(context);
  json["model"] = bench.model->info().name;
  json["layers"] = sized->layers();
  json["attention"] = flags.attention;
  if (!flags.loras.empty()) json["lora"] = flags.loras;
  json["scratch_bytes"] = bench.arena.capacity();
  if (bench.vram_budget > 0) {
    json["vram_budget_bytes"] = bench.vram_budget;
    json["host_to_device_bytes_per_second"] = bench.copy_rate;
  }
  json["results"] = std::move(results);
  if (!steps.empty()) json["steps"] = std::move(steps);
  json["profiles"] = std::move(profiles);
  return write_result(flags.json, json);
}

}  // namespace

void add_bench_step(CLI::App& bench, Action& action) {
  auto flags = std::make_shared<StepFlags>();
  CLI::App* command = bench.add_subcommand(
      "step", "One pass of a model's transformer with random weights, and its parts");
  add_benchmark_model_flags(*command, flags->model, flags->layers);
  command
      ->add_option("--device", flags->device,
                   "cpu, cuda, cuda:N, or auto, the first GPU if there is one")
      ->type_name("DEVICE")
      ->capture_default_str();
  command
      ->add_option("--precision", flags->precisions,
                   "Precisions to compare, of fp32, bf16, int8, int8-dequant, fp8 and nf4")
      ->type_name("P[,P...]")
      ->capture_default_str();
  command
      ->add_option(
          "--attention", flags->attention,
          "Products of attention, several by commas: float, int8 (scores), int8-values (scores and "
          "values), or auto, what a picture takes")
      ->type_name("KIND[,KIND...]")
      ->capture_default_str();
  command->add_option("--size", flags->size, "Pixels")->type_name("WxH")->capture_default_str();
  limit(command->add_option("--text-tokens", flags->text_tokens, "Of the pass with text"), 1, 2048)
      ->capture_default_str();
  add_lora_flag(*command, flags->loras);
  limit(command->add_option("--rounds", flags->rounds, "Timed rounds"), 1, 1000)
      ->capture_default_str();
  add_threads_flag(*command, flags->threads);
  command
      ->add_option("--vram-budget", flags->vram_budget,
                   "Memory of the GPU that a whole picture may take: of each precision, as many "
                   "layers stream from host memory as `generate` would let")
      ->type_name("SIZE");
  command->add_flag("--two-streams", flags->two_streams,
                    "On a GPU also time both passes of a step, on one stream and on two");
  command
      ->add_option("--profile", flags->profile,
                   "Write a Chrome trace of the first precision's pass to a file")
      ->type_name("FILE");
  command->add_option("--json", flags->json, "Write the result as JSON to a file; - for stdout")
      ->type_name("FILE|-");
  command->footer(
      "Weights are random, so every precision runs the same shapes without a download. On a GPU a "
      "pass is recorded as a graph and replayed; the table of ops comes from one pass that is "
      "not.\n"
      "Examples:\n"
      "  intaglio bench step\n"
      "  intaglio bench step --precision int8 --vram-budget 12G\n"
      "  intaglio bench step --size 2048x2048 --precision int8 --attention float\n"
      "  intaglio bench step --device cpu --layers 1 --size 256x256 --text-tokens 16");
  command->callback([flags, &action] {
    action = [flags] {
      const Status status = run_step(*flags);
      return status ? kExitOk : fail(status.error(), flags->json == "-");
    };
  });
}

}  // namespace intaglio::cli
