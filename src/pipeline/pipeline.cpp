#include "pipeline/pipeline.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <deque>

#include "core/memory.h"
#include "core/memory_info.h"
#include "core/parallel.h"
#include "core/philox.h"
#include "io/json_config.h"
#include "models/ideogram4/flux2_vae.h"
#include "models/ideogram4/text_encoder.h"
#include "models/ideogram4/transformer.h"
#include "pipeline/memory_plan.h"
#include "pipeline/sampler.h"
#include "pipeline/schedule.h"
#include "text/chat.h"

namespace intaglio {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kMaxSide = 1 << 20;
constexpr int64_t kMaxSteps = 10000;

double elapsed_ms(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

Expected<ModelInfo> read_model_info(const std::filesystem::path& folder, const JsonConfig& index) {
  ModelInfo info;
  info.folder = folder;
  if (index.contains("intaglio")) {
    INTAGLIO_ASSIGN(const JsonConfig own, index.object("intaglio"));
    INTAGLIO_ASSIGN(info.default_steps,
                    own.integer_or("default_steps", info.default_steps, 1, kMaxSteps));
    if (own.contains("default_guidance")) {
      INTAGLIO_ASSIGN(const double guidance, own.number("default_guidance"));
      info.default_guidance = {static_cast<float>(guidance)};
    }
    if (own.contains("default_size")) {
      INTAGLIO_ASSIGN(const std::vector<int64_t> size,
                      own.integers("default_size", 1, kMaxSide, 2));
      if (size.size() != 2)
        return make_error(ErrorCode::kBadFormat,
                          "default_size has {} values; expected [width, height]", size.size());
      info.default_width = size[0];
      info.default_height = size[1];
    }
  }
  const std::filesystem::path scheduler = folder / "scheduler" / "scheduler_config.json";
  INTAGLIO_ASSIGN(const JsonConfig scheduler_config, JsonConfig::open(scheduler));
  INTAGLIO_ASSIGN(info.shift, scheduler_config.number_or("shift", 1.0));
  if (!(info.shift > 0.0))
    return make_error(ErrorCode::kBadFormat, "{}: shift is {}; expected a positive number",
                      scheduler.string(), info.shift);
  return info;
}

// Names of the tensors that end in ".weight", without that.
std::vector<std::string> linear_names(const Checkpoint& checkpoint) {
  constexpr std::string_view kSuffix = ".weight";
  std::vector<std::string> names;
  for (const TensorEntry* entry : checkpoint.tensors()) {
    if (entry->name.ends_with(kSuffix))
      names.push_back(entry->name.substr(0, entry->name.size() - kSuffix.size()));
  }
  return names;
}

// Text features that are worth keeping; the oldest go first.
constexpr size_t kTextCacheBytes = size_t{256} << 20;

}  // namespace

struct Pipeline::Impl {
  ModelInfo info;
  PipelineOptions options;
  std::shared_ptr<void> stream;
  Context context;
  Arena arena;
  JsonConfig index;
  Tokenizer tokenizer;
  TransformerConfig transformer_config;
  TextEncoderConfig text_config;
  Flux2VaeConfig vae_config;
  std::optional<TextEncoder> text_encoder;
  std::optional<Transformer> conditional, unconditional;
  std::optional<Flux2VaeDecoder> vae;
  struct KeptText {
    std::vector<int32_t> ids;
    std::shared_ptr<const AlignedBuffer> features;
  };
  std::deque<KeptText> kept_texts;  // the newest last

  DType vae_dtype() const { return Flux2VaeDecoder::compute_dtype(context, options.selection); }
  // Before anything is loaded the device's memory is what there is; later the loaded weights are part of the plan too.
  uint64_t memory_limit = 0;

  Expected<MemoryPlan> plan(const PictureRequest& request, int64_t text_tokens) const;
  Status check_request(const PictureRequest& request) const;
  Status reserve(size_t bytes);
  Status load_text_encoder();
  Status load_transformers(bool with_unconditional);
  Status load_vae();
  std::shared_ptr<const AlignedBuffer> kept_features(const std::vector<int32_t>& ids) const;
  Expected<std::shared_ptr<const AlignedBuffer>> encode(const std::vector<int32_t>& ids);
  Status denoise(const PictureRequest& request, const float* features, Picture& picture,
                 const ProgressCallback& progress);
  Status decode(const PictureRequest& request, Picture& picture, const ProgressCallback& progress);
};

Pipeline::Pipeline(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Pipeline::~Pipeline() = default;
const ModelInfo& Pipeline::info() const { return impl_->info; }
const Context& Pipeline::context() const { return impl_->context; }

Expected<std::unique_ptr<Pipeline>> Pipeline::open(const std::filesystem::path& folder,
                                                   const PipelineOptions& options) {
  INTAGLIO_ASSIGN(JsonConfig index, JsonConfig::open(folder / "model_index.json"));
  INTAGLIO_ASSIGN(ModelInfo info, read_model_info(folder, index));
  INTAGLIO_ASSIGN(Tokenizer tokenizer, Tokenizer::open(folder / "tokenizer" / "tokenizer.json"));
  INTAGLIO_ASSIGN(const JsonConfig transformer_json,
                  JsonConfig::open(folder / "transformer" / "config.json"));
  INTAGLIO_ASSIGN(const TransformerConfig transformer_config,
                  parse_transformer_config(transformer_json));
  INTAGLIO_ASSIGN(const JsonConfig text_json,
                  JsonConfig::open(folder / "text_encoder" / "config.json"));
  INTAGLIO_ASSIGN(const TextEncoderConfig text_config,
                  parse_text_encoder_config(text_json, &index));
  INTAGLIO_ASSIGN(const JsonConfig vae_json, JsonConfig::open(folder / "vae" / "config.json"));
  INTAGLIO_ASSIGN(const Flux2VaeConfig vae_config, parse_flux2_vae_config(vae_json));
  INTAGLIO_ASSIGN(DeviceContext device, open_device(options.gpu, options.threads));
  uint64_t memory_limit = options.memory_limit;
  if (memory_limit == 0) {
    INTAGLIO_ASSIGN(memory_limit, available_device_bytes(device.context));
  }
  if (!options.selection.keep_bf16.empty()) {
    INTAGLIO_ASSIGN(const auto checkpoint, Checkpoint::open(folder / "transformer"));
    INTAGLIO_TRY(options.selection.check_keep_bf16(linear_names(*checkpoint)));
  }
  if (text_config.feature_dim() != transformer_config.text_dim) {
    return make_error(ErrorCode::kBadFormat,
                      "{}: the text encoder gives {} features a token ({} channels x {} taps), the "
                      "transformer reads {} (llm_features_dim)",
                      folder.string(), text_config.feature_dim(), text_config.hidden,
                      text_config.taps.size(), transformer_config.text_dim);
  }
  if (vae_config.latent_channels * 4 != transformer_config.channels) {
    return make_error(ErrorCode::kBadFormat,
                      "{}: the transformer has {} channels a token, the VAE packs {} (2 x 2 x {})",
                      folder.string(), transformer_config.channels, vae_config.latent_channels * 4,
                      vae_config.latent_channels);
  }
  info.pixels_per_token = 2 * vae_config.scale_factor();
  info.latent_channels = transformer_config.channels;
  auto impl = std::make_unique<Impl>(Impl{.info = std::move(info),
                                          .options = options,
                                          .stream = std::move(device.stream),
                                          .context = device.context,
                                          .arena = {},
                                          .index = std::move(index),
                                          .tokenizer = std::move(tokenizer),
                                          .transformer_config = transformer_config,
                                          .text_config = text_config,
                                          .vae_config = vae_config,
                                          .text_encoder = {},
                                          .conditional = {},
                                          .unconditional = {},
                                          .vae = {},
                                          .kept_texts = {},
                                          .memory_limit = memory_limit});
  impl->context.scratch = &impl->arena;
  return std::unique_ptr<Pipeline>(new Pipeline(std::move(impl)));
}

Expected<std::string> Pipeline::model_hash() {
  uint64_t hash = 0;
  for (const char* part : {"text_encoder", "transformer", "unconditional_transformer", "vae"}) {
    INTAGLIO_ASSIGN(const auto checkpoint, Checkpoint::open(impl_->info.folder / part));
    hash = hash * 0x9E3779B97F4A7C15ULL + checkpoint->hash();
  }
  return fmt::format("{:016x}", hash);
}

Status Pipeline::Impl::check_request(const PictureRequest& r) const {
  const int64_t unit = info.pixels_per_token;
  if (r.width < unit || r.height < unit || r.width > kMaxSide || r.height > kMaxSide ||
      r.width % unit != 0 || r.height % unit != 0) {
    return make_error(ErrorCode::kInvalidArgument,
                      "size {}x{}: width and height must be multiples of {} from {} to {}", r.width,
                      r.height, unit, unit, kMaxSide);
  }
  if (r.steps < 1 || r.steps > kMaxSteps) {
    return make_error(ErrorCode::kInvalidArgument, "steps is {}; expected 1 to {}", r.steps,
                      kMaxSteps);
  }
  if (r.guidance.size() != static_cast<size_t>(r.steps)) {
    return make_error(ErrorCode::kInvalidArgument, "guidance has {} values for {} steps",
                      r.guidance.size(), r.steps);
  }
  const int64_t tokens = (r.width / unit) * (r.height / unit);
  if (r.noise && r.noise->size() != static_cast<size_t>(tokens * info.latent_channels)) {
    return make_error(ErrorCode::kShapeMismatch,
                      "noise has {} values; expected {} tokens x {} channels = {} for {}x{} pixels",
                      r.noise->size(), tokens, info.latent_channels, tokens * info.latent_channels,
                      r.width, r.height);
  }
  return {};
}

Expected<MemoryPlan> Pipeline::Impl::plan(const PictureRequest& r, int64_t text_tokens) const {
  MemoryPlan plan;
  const DType dtype = options.selection.activation_dtype();
  const auto side = static_cast<double>(info.pixels_per_token);
  const double image_tokens =
      static_cast<double>(r.width) / side * (static_cast<double>(r.height) / side);
  const auto open = [&](const char* part) { return Checkpoint::open(info.folder / part); };
  INTAGLIO_ASSIGN(const auto text, open("text_encoder"));
  INTAGLIO_ASSIGN(const auto conditional_file, open("transformer"));
  INTAGLIO_ASSIGN(const auto unconditional_file, open("unconditional_transformer"));
  INTAGLIO_ASSIGN(const auto vae_file, open("vae"));
  plan.text_weights = prepared_weight_bytes(*text, options.selection);
  plan.transformer_weights = prepared_weight_bytes(*conditional_file, options.selection) +
                             prepared_weight_bytes(*unconditional_file, options.selection);
  for (const TensorEntry* entry : vae_file->tensors())
    plan.vae_weights += entry->view.size_bytes() * 2;
  plan.text_buffers = text_buffer_bytes(text_config, dtype, static_cast<double>(text_tokens));
  plan.transformer_buffers =
      transformer_buffer_bytes(transformer_config, dtype, static_cast<double>(text_tokens),
                               image_tokens, static_cast<double>(r.steps));
  plan.vae_buffers =
      Flux2VaeDecoder::planned_bytes(context, vae_config, vae_dtype(), r.height, r.width);
  return plan;
}

Expected<uint64_t> Pipeline::planned_bytes(const PictureRequest& request) {
  INTAGLIO_TRY(impl_->check_request(request));
  INTAGLIO_ASSIGN(const std::vector<int32_t> ids,
                  tokenize_prompt(impl_->tokenizer, request.prompt));
  INTAGLIO_ASSIGN(const MemoryPlan plan, impl_->plan(request, static_cast<int64_t>(ids.size())));
  return plan.peak_bytes(true);
}

// Grows the arena; it never shrinks, so a series of pictures allocates once.
Status Pipeline::Impl::reserve(size_t bytes) {
  if (bytes <= arena.capacity()) return {};
  arena = Arena();  // give the old block back first
  INTAGLIO_ASSIGN(AlignedBuffer block, allocate(context, bytes));
  arena = Arena(std::move(block));
  return {};
}

Status Pipeline::Impl::load_text_encoder() {
  if (text_encoder) return {};
  INTAGLIO_ASSIGN(text_encoder, TextEncoder::load(context, info.folder / "text_encoder",
                                                  options.selection, &index));
  return {};
}

Status Pipeline::Impl::load_transformers(bool with_unconditional) {
  if (!conditional) {
    INTAGLIO_ASSIGN(conditional,
                    Transformer::load(context, info.folder / "transformer",
                                      {.selection = options.selection, .with_text = true}));
  }
  if (with_unconditional && !unconditional) {
    INTAGLIO_ASSIGN(unconditional,
                    Transformer::load(context, info.folder / "unconditional_transformer",
                                      {.selection = options.selection, .with_text = false}));
    if (unconditional->config().channels != conditional->config().channels) {
      return make_error(ErrorCode::kShapeMismatch,
                        "unconditional_transformer has {} channels a token, transformer has {}",
                        unconditional->config().channels, conditional->config().channels);
    }
  }
  return {};
}

Status Pipeline::Impl::load_vae() {
  if (vae) return {};
  INTAGLIO_ASSIGN(vae, Flux2VaeDecoder::load(context, info.folder / "vae", vae_dtype()));
  return {};
}

std::shared_ptr<const AlignedBuffer> Pipeline::Impl::kept_features(
    const std::vector<int32_t>& ids) const {
  for (const KeptText& text : kept_texts)
    if (text.ids == ids) return text.features;
  return nullptr;
}

// F32 [ids.size(), feature_dim] in memory of the device.
Expected<std::shared_ptr<const AlignedBuffer>> Pipeline::Impl::encode(
    const std::vector<int32_t>& ids) {
  INTAGLIO_TRY(reserve(text_encoder->scratch_bytes(context, static_cast<int64_t>(ids.size()))));
  const size_t values = ids.size() * static_cast<size_t>(text_config.feature_dim());
  INTAGLIO_ASSIGN(AlignedBuffer features, allocate(context, values * sizeof(float)));
  INTAGLIO_TRY(text_encoder->encode(context, ids, features.as<float>()));
  kept_texts.push_back({ids, std::make_shared<const AlignedBuffer>(std::move(features))});
  size_t bytes = 0;
  for (const KeptText& text : kept_texts) bytes += text.features->size();
  while (kept_texts.size() > 1 && bytes > kTextCacheBytes) {
    bytes -= kept_texts.front().features->size();
    kept_texts.pop_front();
  }
  return kept_texts.back().features;
}

Expected<std::vector<float>> Pipeline::encode_text(std::string_view prompt,
                                                   std::vector<int32_t>* ids_out) {
  INTAGLIO_ASSIGN(const std::vector<int32_t> ids, tokenize_prompt(impl_->tokenizer, prompt));
  INTAGLIO_TRY(impl_->load_text_encoder());
  if (ids_out != nullptr) *ids_out = ids;
  INTAGLIO_ASSIGN(const auto features, impl_->encode(ids));
  std::vector<float> values(features->size() / sizeof(float));
  INTAGLIO_TRY(copy_out(impl_->context, values.data(), features->data(), features->size()));
  return values;
}

Status Pipeline::Impl::denoise(const PictureRequest& r, const float* features, Picture& picture,
                               const ProgressCallback& progress) {
  const int64_t grid_h = r.height / info.pixels_per_token;
  const int64_t grid_w = r.width / info.pixels_per_token;
  const bool guided =
      std::any_of(r.guidance.begin(), r.guidance.end(), [](float g) { return g != 1.0f; });
  const std::vector<float> sigmas = shifted_sigmas(
      schedule_sigmas({.width = r.width, .height = r.height, .steps = r.steps}), info.shift);
  std::vector<float> times;
  for (int64_t i = 0; i < r.steps; ++i) times.push_back(1.0f - sigmas[static_cast<size_t>(i)]);

  auto start = Clock::now();
  INTAGLIO_TRY(load_transformers(guided));
  INTAGLIO_TRY(synchronize(context));
  picture.phase_ms[static_cast<size_t>(Phase::kLoadTransformers)] = elapsed_ms(start);
  start = Clock::now();
  size_t scratch =
      conditional->scratch_bytes(context, picture.text_tokens, grid_h, grid_w, r.steps);
  if (guided) {
    scratch = std::max(scratch, unconditional->scratch_bytes(context, 0, grid_h, grid_w, r.steps));
  }
  INTAGLIO_TRY(reserve(scratch));
  picture.latents.resize(static_cast<size_t>(grid_h * grid_w * info.latent_channels));
  if (r.noise) {
    picture.latents = *r.noise;
  } else {
    fill_normal(r.seed, picture.latents.data(), static_cast<int64_t>(picture.latents.size()));
  }
  INTAGLIO_ASSIGN(Sampler sampler,
                  Sampler::prepare(context, {.conditional = &*conditional,
                                             .unconditional = guided ? &*unconditional : nullptr,
                                             .text_features = features,
                                             .text_tokens = picture.text_tokens,
                                             .grid_h = grid_h,
                                             .grid_w = grid_w,
                                             .times = times}));
  INTAGLIO_TRY(sampler.set_latents(context, picture.latents));
  INTAGLIO_TRY(synchronize(context));
  picture.phase_ms[static_cast<size_t>(Phase::kPrepare)] = elapsed_ms(start);

  start = Clock::now();
  for (int64_t i = 0; i < r.steps; ++i) {
    const auto step_start = Clock::now();
    if (progress) progress({Phase::kDenoise, i, r.steps});
    INTAGLIO_TRY(sampler.step(context, i, r.guidance[static_cast<size_t>(i)],
                              sigmas[static_cast<size_t>(i) + 1] - sigmas[static_cast<size_t>(i)]));
    INTAGLIO_TRY(synchronize(context));
    picture.step_ms.push_back(elapsed_ms(step_start));
  }
  INTAGLIO_TRY(sampler.get_latents(context, picture.latents));
  if (progress) progress({Phase::kDenoise, r.steps, r.steps});
  picture.phase_ms[static_cast<size_t>(Phase::kDenoise)] = elapsed_ms(start);
  return {};
}

Status Pipeline::Impl::decode(const PictureRequest& r, Picture& picture,
                              const ProgressCallback& progress) {
  auto start = Clock::now();
  INTAGLIO_TRY(load_vae());
  picture.phase_ms[static_cast<size_t>(Phase::kLoadVae)] = elapsed_ms(start);
  start = Clock::now();
  const int64_t latent_h = r.height / vae_config.scale_factor();
  const int64_t latent_w = r.width / vae_config.scale_factor();
  INTAGLIO_TRY(reserve(vae->scratch_bytes(context, latent_h, latent_w)));
  std::vector<float> latent(picture.latents.size());
  INTAGLIO_TRY(vae->denormalize_and_unpack(picture.latents.data(), latent_h / 2, latent_w / 2,
                                           latent.data()));
  const int64_t pixels = r.width * r.height;
  picture.planar.resize(static_cast<size_t>(3 * pixels));
  INTAGLIO_TRY(vae->decode(context, latent.data(), latent_h, latent_w, picture.planar.data(),
                           [&](int64_t done, int64_t total) {
                             if (progress) progress({Phase::kDecode, done, total});
                           }));
  picture.image.width = r.width;
  picture.image.height = r.height;
  picture.image.pixels.resize(static_cast<size_t>(3 * pixels));
  constexpr int64_t kPixelsAtOnce = 16384;
  parallel_for(context.threads, pixels, kPixelsAtOnce, [&](int64_t begin, int64_t end, int) {
    for (int64_t c = 0; c < 3; ++c) {
      for (int64_t p = begin; p < end; ++p) {
        float& value = picture.planar[static_cast<size_t>(c * pixels + p)];
        // Written so that a NaN stays a NaN in `planar` (to be seen by verify) and becomes black in the picture.
        value = value * 0.5f + 0.5f;
        value = value < 0.0f ? 0.0f : value > 1.0f ? 1.0f : value;
        const float level = value >= 0.0f ? std::nearbyint(value * 255.0f) : 0.0f;
        picture.image.pixels[static_cast<size_t>(3 * p + c)] = static_cast<uint8_t>(level);
      }
    }
  });
  picture.phase_ms[static_cast<size_t>(Phase::kDecode)] = elapsed_ms(start);
  return {};
}

Expected<Picture> Pipeline::generate(const PictureRequest& request,
                                     const ProgressCallback& progress,
                                     const std::atomic<bool>* cancel) {
  Impl& impl = *impl_;
  impl.context.cancel = cancel;
  INTAGLIO_TRY(impl.check_request(request));
  INTAGLIO_ASSIGN(const std::vector<int32_t> ids, tokenize_prompt(impl.tokenizer, request.prompt));
  INTAGLIO_ASSIGN(const MemoryPlan plan, impl.plan(request, static_cast<int64_t>(ids.size())));
  const uint64_t limit = impl.memory_limit;
  if (plan.peak_bytes(true) > limit) {
    return make_error(
        ErrorCode::kOutOfMemory,
        "a {}x{} picture at {} needs {} of memory ({} bytes), {} ({} bytes) is available",
        request.width, request.height, precision_name(impl.options.selection.precision),
        format_bytes(plan.peak_bytes(true)), plan.peak_bytes(true), format_bytes(limit), limit);
  }

  Picture picture;
  picture.text_tokens = static_cast<int64_t>(ids.size());
  picture.feature_dim = impl.text_config.feature_dim();
  picture.latent_channels = impl.info.latent_channels;
  picture.image_tokens =
      (request.width / impl.info.pixels_per_token) * (request.height / impl.info.pixels_per_token);
  std::shared_ptr<const AlignedBuffer> features = impl.kept_features(ids);
  if (features == nullptr) {
    if (progress) progress({Phase::kLoadText, 0, 1});
    auto start = Clock::now();
    INTAGLIO_TRY(impl.load_text_encoder());
    INTAGLIO_TRY(synchronize(impl.context));
    picture.phase_ms[static_cast<size_t>(Phase::kLoadText)] = elapsed_ms(start);
    start = Clock::now();
    INTAGLIO_ASSIGN(features, impl.encode(ids));
    INTAGLIO_TRY(synchronize(impl.context));
    picture.phase_ms[static_cast<size_t>(Phase::kText)] = elapsed_ms(start);
  }
  if (request.keep_features) {
    picture.features.resize(features->size() / sizeof(float));
    INTAGLIO_TRY(
        copy_out(impl.context, picture.features.data(), features->data(), features->size()));
  }
  if (plan.peak_bytes(false) > limit) impl.text_encoder.reset();
  if (progress) progress({Phase::kLoadTransformers, 0, 1});
  INTAGLIO_TRY(impl.denoise(request, features->as<float>(), picture, progress));
  INTAGLIO_TRY(check_cancelled(impl.context));
  INTAGLIO_TRY(impl.decode(request, picture, progress));
  return picture;
}

}  // namespace intaglio
