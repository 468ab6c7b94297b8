// `intaglio map`: every precision on the card at hand, at several sizes, and which is the fastest
// that fits.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "advice/deployment_map.h"
#include "argument_values.h"
#include "bench/bench.h"
#include "bench/bench_memory.h"
#include "bench/step_ops.h"
#include "command.h"
#include "console.h"
#include "core/memory.h"
#include "core/memory_info.h"
#include "core/recording.h"
#include "interrupt.h"
#include "map/map_page.h"
#include "model_flags.h"
#include "models/model.h"
#include "options.h"
#include "pipeline/device.h"
#include "pipeline/memory_plan.h"
#include "run_files.h"

#if defined(INTAGLIO_HAS_CUDA)
#include "core/cuda/device.h"
#endif

namespace intaglio::cli {
namespace {

struct MapFlags {
  std::string device = "auto", precisions = "int8,fp8,bf16,int8-dequant,nf4";
  std::vector<std::string> sizes{"512x512", "768x768", "1024x1024", "1536x1536", "2048x2048"};
  std::string model = "ideogram4";
  int64_t text_tokens = 512, layers = 0;  // 0: the model's
  int rounds = 5, threads = 0;
  std::string json, docs, results = "bench/results";
};

constexpr int64_t kPlannedSteps = 48;

struct Mapper {
  MapFlags flags;
  std::shared_ptr<const Model> model;
  DeviceContext device;
  Arena arena;
  std::vector<PictureSize> sizes;
  AlignedBuffer features;
  nlohmann::ordered_json results = nlohmann::ordered_json::array();

  Context& context() { return device.context; }
  PassSize pass(const PictureSize& size, int64_t text_tokens) const {
    const int64_t pixels = model->info().pixels_per_token;
    return {
        .text_tokens = text_tokens, .grid_h = size.height / pixels, .grid_w = size.width / pixels};
  }
  // Text tokens of the second pass of a guided step.
  int64_t second_text_tokens() const { return model->transformers() > 1 ? 0 : flags.text_tokens; }
};

struct TimedPass {
  Spread spread;
  std::vector<OpTime> ops;
};

// Times of a pass, recorded on a GPU, and of its ops in one that is not.
Expected<TimedPass> time_pass(Mapper& m, const Transformer& transformer, const PassSize& size) {
  Context& context = m.context();
  const int64_t values = size.image_tokens() * transformer.channels();
  const float time = 0.5f;
  TransformerSession session;
  INTAGLIO_TRY(transformer.prepare(context,
                                   {.tokens = size.text_tokens, .features = m.features.as<float>()},
                                   size.grid_h, size.grid_w, std::span(&time, 1), session));
  INTAGLIO_TRY(transformer.select_step(context, session, 0));
  INTAGLIO_ASSIGN(const AlignedBuffer latents, normal_values(context, values, 11));
  INTAGLIO_ASSIGN(AlignedBuffer velocity, allocate(context, latents.size()));
  const auto forward = [&](Profile* profile) {
    return transformer.forward(context, session, latents.as<float>(), velocity.as<float>(),
                               profile);
  };
  Recording recording([&] { return forward(nullptr); });
  std::vector<Candidate> candidates(1);
  candidates.front().run = [&]() -> Status {
    INTAGLIO_TRY(recording.run(context));
    return synchronize(context);
  };
  INTAGLIO_TRY(run_interleaved(candidates, m.flags.rounds));
  Profile profile;
  INTAGLIO_TRY(forward(&profile));
  INTAGLIO_TRY(collect_gpu_spans(context, profile));
  return TimedPass{
      spread_of(candidates.front().times_ms),
      op_times(profile, {.shape = {.width = transformer.width(),
                                   .linears = m.model->transformer(0, {})->listed_linears(),
                                   .text_tokens = size.text_tokens,
                                   .image_tokens = size.image_tokens()},
                         .layers = transformer.layers(),
                         .precision = transformer.selection().precision,
                         .s8_scores = transformer.uses_s8_scores(context, size)})};
}

nlohmann::ordered_json pass_json(const TimedPass& pass) {
  nlohmann::ordered_json ops = nlohmann::ordered_json::array();
  for (const OpTime& op : pass.ops)
    ops.push_back({{"op", op.name}, {"time_ms", op.time_ms}, {"operations", op.operations}});
  return {{"median_ms", pass.spread.median},
          {"min_ms", pass.spread.min},
          {"max_ms", pass.spread.max},
          {"ops", std::move(ops)}};
}

// Operations a second of each linear of a layer and of attention, on one line.
std::string rates_of(const TimedPass& pass) {
  std::string line;
  for (const OpTime& op : pass.ops)
    if (op.operations > 0.0 && op.time_ms > 0.0)
      line += fmt::format("  {} {:.0f}", op.name, op.operations / op.time_ms * 1e-9);
  return line.empty() ? line : "  TOP/s:" + line;
}

Expected<uint64_t> picture_bytes(Mapper& m, const LayerSelection& selection,
                                 const PictureSize& size) {
  INTAGLIO_ASSIGN(const MemoryNeeds needs,
                  guided_picture_needs(m.context(), *m.model, {.selection = selection},
                                       m.pass(size, m.flags.text_tokens), kPlannedSteps));
  return least_resident_bytes(needs);
}

Status map_precision(Mapper& m, Precision precision, Stream out) {
  Context& context = m.context();
  LayerSelection selection;
  selection.precision = precision;
  const std::string name(precision_name(precision));
  if (const Status has = selection.check_device(context); !has) {
    print(out, "{:<13} left out: {}\n", name, has.error().message);
    return {};
  }
  m.arena = Arena();
  const PictureSize largest = *std::max_element(
      m.sizes.begin(), m.sizes.end(),
      [](const auto& a, const auto& b) { return a.width * a.height < b.width * b.height; });
  const std::unique_ptr<Transformer> sized = m.model->transformer(0, {.selection = selection});
  const PassSize passes[] = {m.pass(largest, m.flags.text_tokens),
                             m.pass(largest, m.second_text_tokens())};
  INTAGLIO_ASSIGN(const TransformerBytes need, transformer_bytes(context, *sized, passes));
  if (const Status fits =
          check_memory(context, fmt::format("{} layers", sized->layers()),
                       need.weights + need.sessions + std::max(need.scratch, need.staging));
      !fits) {
    if (fits.error().code != ErrorCode::kOutOfMemory) return fits;
    print(out, "{:<13} left out: {}\n", name, fits.error().message);
    return {};
  }
  const Expected<std::unique_ptr<Transformer>> transformer =
      m.model->load_transformer(context, 0, {.selection = selection});
  if (!transformer && transformer.error().code == ErrorCode::kOutOfMemory) {
    print(out, "{:<13} left out: {}\n", name, transformer.error().message);
    return {};
  }
  if (!transformer) return tl::unexpected<Error>(transformer.error());
  for (const PictureSize& size : m.sizes) {
    const PassSize first = m.pass(size, m.flags.text_tokens);
    const size_t scratch = (*transformer)->scratch_bytes(context, first, 1);
    m.arena = Arena();
    INTAGLIO_ASSIGN(AlignedBuffer block, allocate(context, scratch));
    m.arena = Arena(std::move(block));
    INTAGLIO_ASSIGN(const TimedPass with_text, time_pass(m, **transformer, first));
    INTAGLIO_ASSIGN(const TimedPass without_text,
                    time_pass(m, **transformer, m.pass(size, m.second_text_tokens())));
    INTAGLIO_ASSIGN(const uint64_t bytes, picture_bytes(m, selection, size));
    print(out, "{:<13} {:>9} {:>9.2f} + {:>8.2f} ms {:>10}{}\n", name,
          fmt::format("{}x{}", size.width, size.height), with_text.spread.median,
          without_text.spread.median, format_bytes(bytes), rates_of(with_text));
    m.results.push_back({{"precision", name},
                         {"width", size.width},
                         {"height", size.height},
                         {"text_tokens", m.flags.text_tokens},
                         {"image_tokens", first.image_tokens()},
                         {"conditional", pass_json(with_text)},
                         {"unconditional", pass_json(without_text)},
                         {"resident_bytes", bytes}});
  }
  return {};
}

// For each size the fastest precision, and the fastest that the card holds without streaming.
void print_choice(const Mapper& m, const DeploymentMap& map, uint64_t available, Stream out) {
  for (const PictureSize& size : m.sizes) {
    const MapEntry *best = nullptr, *resident = nullptr;
    for (const MapEntry& e : map.entries) {
      if (e.width != size.width || e.height != size.height) continue;
      if (best == nullptr || e.step_ms() < best->step_ms()) best = &e;
      if (e.resident_bytes > available) continue;
      if (resident == nullptr || e.step_ms() < resident->step_ms()) resident = &e;
    }
    if (best == nullptr) continue;
    print(out, "{}x{}: fastest {}, {:.1f} ms a step; fastest that fits into {}: {}\n", size.width,
          size.height, precision_name(best->precision), best->step_ms(), format_bytes(available),
          resident == nullptr ? "none without streaming" : precision_name(resident->precision));
  }
}

std::string_view kernels_of(const Context& context) {
#if defined(INTAGLIO_HAS_CUDA)
  if (context.gpu != nullptr) return cuda::may_use_wgmma(*context.gpu) ? "wgmma" : "mma.sync";
#endif
  return cpu_isa_name(context.cpu.isa);
}

// Where a whole map of a GPU is kept, unless --json has another place for it.
Expected<std::string> place_of_map(const MapFlags& flags, const Context& context) {
  if (!flags.json.empty()) return flags.json;
  if (context.gpu == nullptr || flags.layers != 0) return std::string();
  INTAGLIO_ASSIGN(const std::filesystem::path file, deployment_map_file(context.gpu->name));
  std::error_code ignored;
  std::filesystem::create_directories(file.parent_path(), ignored);
  return file.string();
}

Status measure(const MapFlags& flags) {
  Mapper m;
  m.flags = flags;
  INTAGLIO_ASSIGN(m.model, benchmark_model(flags.model, flags.layers));
  std::vector<std::string> known(precision_names().begin(), precision_names().end());
  INTAGLIO_ASSIGN(const std::vector<std::string> precisions,
                  parse_precisions(flags.precisions, known));
  for (const std::string& text : flags.sizes) {
    INTAGLIO_ASSIGN(const PictureSize size, parse_size(text));
    INTAGLIO_TRY(check_size(size, m.model->info().pixels_per_token));
    m.sizes.push_back(size);
  }
  INTAGLIO_ASSIGN(const std::optional<int> gpu, parse_device(flags.device));
  INTAGLIO_TRY(check_files({.outputs = {{"--json", flags.json}}, .inputs = {}}));
  INTAGLIO_ASSIGN(m.device, open_device(gpu, flags.threads));
  Context& context = m.context();
  INTAGLIO_ASSIGN(const std::string place, place_of_map(flags, context));
  INTAGLIO_TRY(check_files({.outputs = {{"the map", place}}, .inputs = {}}));
  context.cancel = &interrupted;
  context.scratch = &m.arena;
  INTAGLIO_ASSIGN(const uint64_t available, available_device_bytes(context));
  const std::unique_ptr<Transformer> sized = m.model->transformer(0, {});
  INTAGLIO_ASSIGN(m.features, normal_values(context, flags.text_tokens * sized->text_dim(), 12));
  Stream out = flags.json == "-" ? Stream::kErr : Stream::kOut;
  print(out, "{} layers of {}, {} text tokens + {}, on {}\n", sized->layers(), m.model->info().name,
        flags.text_tokens, m.second_text_tokens() == 0 ? "none" : "as many", device_name(context));
  for (const std::string& name : precisions)
    INTAGLIO_TRY(map_precision(m, *precision_from_name(name), out));

  if (m.results.empty()) {
    return make_error(ErrorCode::kUnsupported,
                      "nothing was measured: every precision of {} is left out",
                      fmt::join(precisions, ", "));
  }
  const std::string card = context.gpu != nullptr ? context.gpu->name : context.cpu.brand;
  nlohmann::ordered_json json{{"benchmark", "map"}, {"machine", machine_json(context)}};
  json["device"] = device_name(context);
  json["card"] = card;
  json["kernels"] = kernels_of(context);
  json["model"] = m.model->info().name;
  json["layers"] = sized->layers();
  json["rounds"] = flags.rounds;
  json["available_bytes"] = available;
  json["results"] = m.results;
  INTAGLIO_ASSIGN(const DeploymentMap map, parse_deployment_map(json.dump(), "the map"));
  print_choice(m, map, available, out);
  if (place.empty()) return {};
  INTAGLIO_TRY(write_result(place, json));
  if (flags.json.empty()) print(out, "kept in {}; `generate --precision auto` uses it\n", place);
  return {};
}

}  // namespace

void add_map(CLI::App& app, Action& action) {
  auto flags = std::make_shared<MapFlags>();
  CLI::App* command = app.add_subcommand(
      "map", "Measure every precision on this machine and name the fastest that fits");
  command
      ->add_option("--device", flags->device,
                   "cpu, cuda, cuda:N, or auto, the first GPU if there is one")
      ->type_name("DEVICE")
      ->capture_default_str();
  command->add_option("--precision", flags->precisions, "Precisions to measure, by commas")
      ->type_name("P[,P...]")
      ->capture_default_str();
  command->add_option("--size", flags->sizes, "Pixels; several by commas")
      ->delimiter(',')
      ->type_name("WxH")
      ->capture_default_str();
  limit(command->add_option("--text-tokens", flags->text_tokens, "Of the pass with text"), 1, 2048)
      ->capture_default_str();
  add_benchmark_model_flags(*command, flags->model, flags->layers);
  limit(command->add_option("--rounds", flags->rounds, "Timed rounds"), 1, 1000)
      ->capture_default_str();
  add_threads_flag(*command, flags->threads);
  command
      ->add_option("--json", flags->json,
                   "Write the map to a file instead of keeping it; - for stdout")
      ->type_name("FILE|-");
  command
      ->add_option("--docs", flags->docs,
                   "Measure nothing: write deployment-map.md and its charts into this folder")
      ->type_name("DIR");
  command->add_option("--results", flags->results, "Where --docs finds map_*.json")
      ->type_name("DIR")
      ->capture_default_str();
  command->footer(
      "Weights are random, so nothing is downloaded. Memory is that of a whole picture. With "
      "--layers nothing is kept: a look at slow machines.\n"
      "Examples:\n"
      "  intaglio map\n"
      "  intaglio map --json bench/results/map_my_card.json\n"
      "  intaglio map --docs docs\n"
      "  intaglio map --device cpu --layers 1 --size 512x512 --precision int8,bf16");
  command->callback([flags, &action] {
    action = [flags] {
      const Status status =
          flags->docs.empty() ? measure(*flags) : write_map_docs(flags->results, flags->docs);
      return status ? kExitOk : fail(status.error(), flags->json == "-");
    };
  });
}

}  // namespace intaglio::cli
