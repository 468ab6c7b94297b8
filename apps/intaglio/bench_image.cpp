// `intaglio bench image`: whole pictures at Ideogram 4's sizes with random weights, from token ids to a PNG file, phase by phase.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <filesystem>
#include <memory>

#include "bench.h"
#include "command.h"
#include "core/memory.h"
#include "core/memory_info.h"
#include "core/philox.h"
#include "interrupt.h"
#include "models/ideogram4/published_sizes.h"
#include "models/ideogram4/text_encoder.h"
#include "models/ideogram4/transformer.h"
#include "options.h"
#include "pipeline/device.h"
#include "pipeline/finish_picture.h"
#include "pipeline/sampler.h"
#include "pipeline/schedule.h"

namespace intaglio::cli {
namespace {

using Clock = std::chrono::steady_clock;

struct ImageFlags {
  std::string device = "auto", precision = "int8", size = "1024x1024";
  int64_t text_tokens = 512, steps = 48;
  int count = 3, threads = 0;
  std::string json;
};

constexpr std::array<const char*, 6> kPhases{"text",   "prepare", "sample",
                                             "decode", "finish",  "total"};
using PhaseTimes = std::array<double, kPhases.size()>;

struct Models {
  TextEncoder text;
  Transformer conditional, unconditional;
  Flux2VaeDecoder vae;
};

struct Session {
  ImageFlags flags;
  DeviceContext device;
  Arena arena;
  PictureSize size;
  uint64_t free_before = 0;  // bytes of the device's memory before anything was loaded
  std::unique_ptr<Models> models;

  Context& context() { return device.context; }
  int64_t grid_h() const { return size.height / kIdeogram4PixelsPerToken; }
  int64_t grid_w() const { return size.width / kIdeogram4PixelsPerToken; }
};

double since_ms(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

Status load_models(Session& s) {
  Context& context = s.context();
  LayerSelection selection;
  selection.precision = *precision_from_name(s.flags.precision);
  INTAGLIO_ASSIGN(TextEncoder text,
                  TextEncoder::synthetic(context, ideogram4_text_config(), selection, 1));
  const TransformerConfig config = ideogram4_transformer_config();
  INTAGLIO_ASSIGN(
      Transformer conditional,
      Transformer::synthetic(context, config, {.selection = selection, .with_text = true}, 2));
  INTAGLIO_ASSIGN(
      Transformer unconditional,
      Transformer::synthetic(context, config, {.selection = selection, .with_text = false}, 3));
  INTAGLIO_ASSIGN(Flux2VaeDecoder vae, Flux2VaeDecoder::synthetic(
                                           context, ideogram4_vae_config(),
                                           Flux2VaeDecoder::compute_dtype(context, selection), 4));
  s.models = std::make_unique<Models>(
      Models{std::move(text), std::move(conditional), std::move(unconditional), std::move(vae)});
  return {};
}

// One block for every phase: the phases do not overlap.
Status reserve(Session& s) {
  Context& context = s.context();
  const Models& m = *s.models;
  const size_t bytes =
      std::max({m.text.scratch_bytes(context, s.flags.text_tokens),
                m.conditional.scratch_bytes(context, s.flags.text_tokens, s.grid_h(), s.grid_w(),
                                            s.flags.steps),
                m.unconditional.scratch_bytes(context, 0, s.grid_h(), s.grid_w(), s.flags.steps),
                m.vae.scratch_bytes(context, 2 * s.grid_h(), 2 * s.grid_w())});
  INTAGLIO_ASSIGN(AlignedBuffer block, allocate(context, bytes));
  s.arena = Arena(std::move(block));
  return {};
}

struct Schedule {
  std::vector<float> sigmas, times, guidance;
};

Expected<Schedule> make_schedule(const Session& s) {
  Schedule schedule;
  schedule.sigmas =
      schedule_sigmas({.width = s.size.width, .height = s.size.height, .steps = s.flags.steps});
  for (int64_t i = 0; i < s.flags.steps; ++i)
    schedule.times.push_back(1.0f - schedule.sigmas[static_cast<size_t>(i)]);
  INTAGLIO_ASSIGN(schedule.guidance,
                  guidance_schedule(default_guidance(s.flags.steps), s.flags.steps));
  return schedule;
}

Status sample(Session& s, const Schedule& schedule, const float* features, uint64_t seed,
              std::vector<float>& latents, PhaseTimes& times) {
  Context& context = s.context();
  Clock::time_point start = Clock::now();
  fill_normal(seed, latents.data(), static_cast<int64_t>(latents.size()));
  INTAGLIO_ASSIGN(Sampler sampler,
                  Sampler::prepare(context, {.conditional = &s.models->conditional,
                                             .unconditional = &s.models->unconditional,
                                             .text_features = features,
                                             .text_tokens = s.flags.text_tokens,
                                             .grid_h = s.grid_h(),
                                             .grid_w = s.grid_w(),
                                             .times = schedule.times}));
  INTAGLIO_TRY(sampler.set_latents(context, latents));
  INTAGLIO_TRY(synchronize(context));
  times[1] = since_ms(start);
  start = Clock::now();
  for (int64_t i = 0; i < s.flags.steps; ++i) {
    const auto at = static_cast<size_t>(i);
    INTAGLIO_TRY(check_cancelled(context));
    INTAGLIO_TRY(sampler.step(context, i, schedule.guidance[at],
                              schedule.sigmas[at + 1] - schedule.sigmas[at]));
  }
  INTAGLIO_TRY(sampler.get_latents(context, latents));
  times[2] = since_ms(start);
  return {};
}

Expected<PhaseTimes> picture(Session& s, const Schedule& schedule, uint64_t seed,
                             const std::filesystem::path& file) {
  Context& context = s.context();
  PhaseTimes times{};
  const Clock::time_point begin = Clock::now();
  const TextEncoderConfig& text = s.models->text.config();
  std::vector<int32_t> ids(static_cast<size_t>(s.flags.text_tokens));
  for (size_t i = 0; i < ids.size(); ++i)
    ids[i] = static_cast<int32_t>((seed * 7919 + i * 104729) % static_cast<uint64_t>(text.vocab));
  INTAGLIO_ASSIGN(
      const AlignedBuffer features,
      allocate(context, ids.size() * static_cast<size_t>(text.feature_dim()) * sizeof(float)));
  INTAGLIO_TRY(s.models->text.encode(context, ids, features.as<float>()));
  INTAGLIO_TRY(synchronize(context));
  times[0] = since_ms(begin);

  const int64_t channels = s.models->conditional.config().channels;
  std::vector<float> latents(static_cast<size_t>(s.grid_h() * s.grid_w() * channels));
  INTAGLIO_TRY(sample(s, schedule, features.as<float>(), seed, latents, times));

  Clock::time_point start = Clock::now();
  std::vector<float> unpacked(latents.size());
  INTAGLIO_TRY(s.models->vae.denormalize_and_unpack(latents.data(), s.grid_h(), s.grid_w(),
                                                    unpacked.data()));
  std::vector<float> planar(static_cast<size_t>(3 * s.size.width * s.size.height));
  INTAGLIO_TRY(s.models->vae.decode(context, unpacked.data(), 2 * s.grid_h(), 2 * s.grid_w(),
                                    planar.data(), {}));
  times[3] = since_ms(start);
  start = Clock::now();
  INTAGLIO_TRY(write_png(file, finish_picture(context, s.size.width, s.size.height, planar), {}));
  times[4] = since_ms(start);
  times[5] = since_ms(begin);
  return times;
}

Status report(Session& s, const std::vector<PhaseTimes>& pictures) {
  INTAGLIO_ASSIGN(const uint64_t free_after, available_device_bytes(s.device.context));
  const uint64_t used = s.free_before > free_after ? s.free_before - free_after : 0;
  std::FILE* const out = s.flags.json == "-" ? stderr : stdout;
  fmt::print(out, "{} steps, {}x{} pixels, {} text tokens, {}, on {}; {} pictures after one more\n",
             s.flags.steps, s.size.width, s.size.height, s.flags.text_tokens, s.flags.precision,
             device_name(s.device.context), pictures.size());
  nlohmann::ordered_json phases;
  for (size_t i = 0; i < kPhases.size(); ++i) {
    std::vector<double> times;
    for (const PhaseTimes& p : pictures) times.push_back(p[i]);
    const Spread spread = spread_of(times);
    fmt::print(out, "{:<10} {:>10.1f} ms  ({:.1f} to {:.1f})\n", kPhases[i], spread.median,
               spread.min, spread.max);
    phases[kPhases[i]] = {
        {"median_ms", spread.median}, {"min_ms", spread.min}, {"max_ms", spread.max}};
  }
  fmt::print(out, "memory taken: {} with everything resident\n", format_bytes(used));
  if (s.flags.json.empty()) return {};
  nlohmann::ordered_json json{{"benchmark", "image"}, {"machine", machine_json(s.device.context)}};
  json["device"] = device_name(s.device.context);
  json["precision"] = s.flags.precision;
  json["width"] = s.size.width;
  json["height"] = s.size.height;
  json["steps"] = s.flags.steps;
  json["text_tokens"] = s.flags.text_tokens;
  json["pictures"] = pictures.size();
  json["phases"] = std::move(phases);
  json["resident_bytes"] = used;
  json["scratch_bytes"] = s.arena.capacity();
  return write_result(s.flags.json, json);
}

Status run_image(const ImageFlags& flags) {
  Session s{.flags = flags, .device = {}, .arena = {}, .size = {}, .models = {}};
  if (!precision_from_name(flags.precision))
    return make_error(ErrorCode::kInvalidArgument, "--precision: \"{}\" is unknown",
                      flags.precision);
  INTAGLIO_ASSIGN(s.size, parse_size(flags.size));
  INTAGLIO_TRY(check_size(s.size, kIdeogram4PixelsPerToken));
  INTAGLIO_ASSIGN(const std::optional<int> gpu, parse_device(flags.device));
  INTAGLIO_ASSIGN(s.device, open_device(gpu, flags.threads));
  s.context().cancel = &interrupted;
  s.context().scratch = &s.arena;
  INTAGLIO_ASSIGN(s.free_before, available_device_bytes(s.device.context));
  INTAGLIO_TRY(load_models(s));
  INTAGLIO_TRY(reserve(s));
  INTAGLIO_ASSIGN(const Schedule schedule, make_schedule(s));
  const std::filesystem::path file =
      std::filesystem::temp_directory_path() / fmt::format("intaglio-bench-{}.png", ::getpid());
  std::vector<PhaseTimes> pictures;
  Status status;
  for (int i = 0; i <= flags.count && status; ++i) {
    const Expected<PhaseTimes> times = picture(s, schedule, static_cast<uint64_t>(i), file);
    if (!times) status = tl::unexpected<Error>(times.error());
    if (times && i > 0) pictures.push_back(*times);  // the first one warms up
  }
  std::error_code ignored;
  std::filesystem::remove(file, ignored);
  INTAGLIO_TRY(status);
  return report(s, pictures);
}

}  // namespace

void add_bench_image(CLI::App& bench, int& exit_code) {
  auto flags = std::make_shared<ImageFlags>();
  CLI::App* command = bench.add_subcommand(
      "image", "Whole pictures at Ideogram 4's sizes with random weights, phase by phase");
  command
      ->add_option("--device", flags->device,
                   "cpu, cuda, cuda:N, or auto, the first GPU if there is one")
      ->capture_default_str();
  command->add_option("--precision", flags->precision, "Of the transformers and the text encoder")
      ->capture_default_str();
  command->add_option("--size", flags->size, "Pixels")->type_name("WxH")->capture_default_str();
  command->add_option("--text-tokens", flags->text_tokens, "Of the prompt")
      ->check(CLI::Range(1, 2048))
      ->capture_default_str();
  command->add_option("--steps", flags->steps, "Sampling steps")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_option("--count", flags->count, "Timed pictures")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_option("--threads", flags->threads, "CPU threads; by default all");
  command->add_option("--json", flags->json, "Write the result as JSON to a file; - for stdout");
  command->footer(
      "All weights stay on the device: 35 GB at int8. The pictures are noise; their times are "
      "those "
      "of real ones.\n"
      "Examples:\n"
      "  intaglio bench image\n"
      "  intaglio bench image --size 2048x2048 --count 1 --json image.json");
  command->callback([flags, &exit_code] {
    install_interrupt_handler();
    const Status status = run_image(*flags);
    exit_code = status ? kExitOk : fail(status.error(), flags->json == "-");
  });
}

}  // namespace intaglio::cli
