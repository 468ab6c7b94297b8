#include "pipeline/pipeline.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "core/finite.h"
#include "core/memory.h"
#include "core/memory_info.h"
#include "core/out_of_memory.h"
#include "core/philox.h"
#include "models/qwen3/chat.h"
#include "ops/euler_step.h"
#include "pipeline/finish_picture.h"
#include "pipeline/pipeline_impl.h"
#include "pipeline/schedule.h"

namespace intaglio {
namespace {

using Clock = std::chrono::steady_clock;

double elapsed_ms(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

// Projected text that is worth keeping in host memory; the oldest goes first.
constexpr size_t kTextCacheBytes = size_t{256} << 20;

// Of a GPU's free memory, left to its driver: kernels and libraries are loaded when they are first used.
constexpr uint64_t kDriverBytes = uint64_t{256} << 20;

bool is_guided(const PictureRequest& request) {
  return std::any_of(request.guidance.begin(), request.guidance.end(),
                     [](float g) { return g != 1.0f; });
}

// What of a step holds an Inf or a NaN: a transformer's velocity, or the latents that a finite one led to.
tl::unexpected<Error> not_finite_error(uint32_t bits, const PictureRequest& r, int64_t step,
                                       Precision precision) {
  const std::string where = fmt::format("step {} of {}", step + 1, r.steps);
  if ((bits & ~kLatentsNotFinite) != 0) {
    const bool conditional = (bits & pass_not_finite(0)) != 0;
    return make_error(
        ErrorCode::kUnsupported,
        "{}: the {} computed values that are not finite (an Inf or a NaN); its weights "
        "may hold one, or its numbers are too large for {}",
        where, conditional ? "transformer" : "unconditional transformer",
        precision_name(precision));
  }
  return make_error(ErrorCode::kUnsupported,
                    "{}: the latents are not finite (an Inf or a NaN) at guidance {}", where,
                    r.guidance[static_cast<size_t>(step)]);
}

// Bytes of the device that a pipeline may plan with.
Expected<uint64_t> memory_limit_of(const Context& context, const PipelineOptions& options) {
  uint64_t limit = options.memory_limit;
  if (limit == 0) {
    INTAGLIO_ASSIGN(limit, available_device_bytes(context));
    if (context.gpu != nullptr) limit -= std::min(limit, kDriverBytes);
  }
  if (context.gpu != nullptr && options.vram_budget > 0)
    limit = std::min(limit, options.vram_budget);
  return limit;
}

}  // namespace

Pipeline::Pipeline(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Pipeline::~Pipeline() = default;
const ModelInfo& Pipeline::info() const { return impl_->info(); }
const Context& Pipeline::context() const { return impl_->context; }

Expected<std::unique_ptr<Pipeline>> Pipeline::open(const std::filesystem::path& folder,
                                                   const PipelineOptions& options) {
  return guard_memory("opening a model", [&]() -> Expected<std::unique_ptr<Pipeline>> {
    INTAGLIO_ASSIGN(std::shared_ptr<const ModelSource> source, ModelSource::open(folder));
    return open(std::move(source), options);
  });
}

Expected<std::unique_ptr<Pipeline>> Pipeline::open(std::shared_ptr<const ModelSource> source,
                                                   const PipelineOptions& options) {
  return guard_memory("opening a model", [&]() -> Expected<std::unique_ptr<Pipeline>> {
    INTAGLIO_ASSIGN(DeviceContext device, open_device(options.gpu, options.threads));
    INTAGLIO_TRY(options.selection.check_device(device.context));
    INTAGLIO_ASSIGN(const uint64_t memory_limit, memory_limit_of(device.context, options));
    INTAGLIO_TRY(source->check_keep_bf16(options.selection));
    auto impl = std::make_unique<Impl>();
    impl->source = std::move(source);
    impl->options = options;
    impl->stream = std::move(device.stream);
    impl->context = device.context;
    impl->context.scratch = &impl->arena;
    impl->memory_limit = memory_limit;
    return std::unique_ptr<Pipeline>(new Pipeline(std::move(impl)));
  });
}

Expected<std::string> Pipeline::model_hash(const std::atomic<bool>* cancel) {
  return guard_memory("hashing the weights", [&] { return impl_->source->hash(cancel); });
}

Status Pipeline::Impl::check_request(const PictureRequest& r) const {
  const int64_t unit = info().pixels_per_token;
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
  INTAGLIO_TRY(check_guidance(info(), r.guidance));
  if (!std::isfinite(r.mu) || !std::isfinite(r.std) || r.std <= 0.0) {
    return make_error(ErrorCode::kInvalidArgument,
                      "mu {}, std {}: expected a finite and a positive number", r.mu, r.std);
  }
  const int64_t tokens = (r.width / unit) * (r.height / unit);
  if (r.noise && r.noise->size() != static_cast<size_t>(tokens * info().latent_channels)) {
    return make_error(ErrorCode::kShapeMismatch,
                      "noise has {} values; expected {} tokens x {} channels = {} for {}x{} pixels",
                      r.noise->size(), tokens, info().latent_channels,
                      tokens * info().latent_channels, r.width, r.height);
  }
  if (r.noise && !all_finite(*r.noise))
    return make_error(ErrorCode::kInvalidArgument, "the noise holds a NaN or an Inf");
  return {};
}

Expected<MemoryPlan> Pipeline::Impl::plan(const PictureRequest& r, int64_t text_tokens) const {
  const auto make = [&](bool with_unconditional) -> Expected<MemoryPlan> {
    PlannedModels models = source->planned(options.selection);
    if (!with_unconditional) models.unconditional.reset();
    INTAGLIO_ASSIGN(const MemoryNeeds needs,
                    picture_needs(context, models,
                                  {.text_tokens = text_tokens,
                                   .grid_h = r.height / info().pixels_per_token,
                                   .grid_w = r.width / info().pixels_per_token,
                                   .steps = r.steps}));
    return plan_memory(needs, {.bytes = memory_limit, .stream = streams()});
  };
  const bool guided = is_guided(r);
  // What an earlier picture loaded may stay if it fits.
  Expected<MemoryPlan> plan = make(guided || unconditional.has_value());
  if (!plan && !guided && unconditional) plan = make(false);
  if (plan) return plan;
  const bool may_stream = context.gpu != nullptr && !streams();
  return make_error(plan.error().code, "a {}x{} picture at {}: {}{}", r.width, r.height,
                    precision_name(options.selection.precision), plan.error().message,
                    may_stream ? "; with a VRAM budget layers stream from host memory" : "");
}

// What streams lies in host memory that cannot be swapped out: better no picture than a machine that stands still.
Status Pipeline::Impl::check_pinned(const MemoryPlan& plan) const {
  if (plan.pinned_bytes == 0 || !must_load_transformers(plan)) return {};
  const uint64_t available = available_memory_bytes();
  if (plan.pinned_bytes <= available) return {};
  return make_error(ErrorCode::kOutOfMemory,
                    "{} of weights would stream from host memory ({} bytes), {} ({} bytes) is "
                    "available there",
                    format_bytes(plan.pinned_bytes), plan.pinned_bytes, format_bytes(available),
                    available);
}

Expected<PicturePlan> Pipeline::plan(const PictureRequest& request) {
  return guard_memory("planning the picture", [&] { return impl_->plan(request); });
}

Expected<PicturePlan> Pipeline::Impl::plan(const PictureRequest& request) const {
  INTAGLIO_TRY(make_current(context));
  INTAGLIO_TRY(check_request(request));
  INTAGLIO_ASSIGN(const std::vector<int32_t> ids, token_ids(request));
  INTAGLIO_ASSIGN(const MemoryPlan plan, this->plan(request, static_cast<int64_t>(ids.size())));
  INTAGLIO_TRY(check_pinned(plan));
  const int64_t unit = info().pixels_per_token;
  return PicturePlan{.text_tokens = static_cast<int64_t>(ids.size()),
                     .image_tokens = (request.width / unit) * (request.height / unit),
                     .peak_bytes = plan.peak_bytes(),
                     .streamed_bytes = plan.streamed_bytes};
}

Expected<std::vector<int32_t>> Pipeline::Impl::token_ids(const PictureRequest& r) const {
  INTAGLIO_ASSIGN(std::vector<int32_t> ids, r.token_ids
                                                ? Expected<std::vector<int32_t>>(*r.token_ids)
                                                : source->tokenize(r.prompt));
  if (ids.empty()) return make_error(ErrorCode::kInvalidArgument, "no text tokens were given");
  INTAGLIO_TRY(qwen3::check_prompt_tokens(static_cast<int64_t>(ids.size())));
  const int64_t vocab = source->text_config().vocab;
  for (const int32_t id : ids) {
    if (id >= 0 && id < vocab) continue;
    return make_error(r.token_ids ? ErrorCode::kInvalidArgument : ErrorCode::kBadFormat,
                      "text token {} is not in the text encoder's vocabulary of {}{}", id, vocab,
                      r.token_ids ? "" : "; the tokenizer is not that of this text encoder");
  }
  return ids;
}

std::shared_ptr<const std::vector<float>> Pipeline::Impl::kept_rows(
    const std::vector<int32_t>& ids) const {
  for (const KeptText& text : kept_texts)
    if (text.ids == ids) return text.rows;
  return nullptr;
}

Status Pipeline::Impl::keep_rows(const std::vector<int32_t>& ids) {
  if (kept_rows(ids) != nullptr) return {};  // encoded again for its features
  INTAGLIO_ASSIGN(std::vector<float> rows, sampler.text_rows(context));
  kept_texts.push_back({ids, std::make_shared<std::vector<float>>(std::move(rows))});
  size_t bytes = 0;
  for (const KeptText& text : kept_texts) bytes += text.rows->size() * sizeof(float);
  while (kept_texts.size() > 1 && bytes > kTextCacheBytes) {
    bytes -= kept_texts.front().rows->size() * sizeof(float);
    kept_texts.pop_front();
  }
  return {};
}

// F32 [ids.size(), feature_dim], memory of the device.
Expected<AlignedBuffer> Pipeline::Impl::encode(const std::vector<int32_t>& ids) {
  INTAGLIO_TRY(reserve(text_encoder->scratch_bytes(context, static_cast<int64_t>(ids.size()))));
  const size_t values = ids.size() * static_cast<size_t>(source->text_config().feature_dim());
  INTAGLIO_ASSIGN(AlignedBuffer features, allocate(context, values * sizeof(float)));
  INTAGLIO_TRY(text_encoder->encode(context, ids, features.as<float>()));
  return features;
}

Expected<std::vector<float>> Pipeline::Impl::on_host(const AlignedBuffer& features) const {
  std::vector<float> values(features.size() / sizeof(float));
  INTAGLIO_TRY(copy_out(context, values.data(), features.data(), features.size()));
  return values;
}

Expected<std::vector<float>> Pipeline::encode_text(std::string_view prompt,
                                                   std::vector<int32_t>* ids_out) {
  return guard_memory("reading the prompt", [&]() -> Expected<std::vector<float>> {
    INTAGLIO_TRY(make_current(impl_->context));
    INTAGLIO_ASSIGN(const std::vector<int32_t> ids, impl_->source->tokenize(prompt));
    INTAGLIO_TRY(impl_->load_text_encoder(static_cast<int64_t>(ids.size())));
    if (ids_out != nullptr) *ids_out = ids;
    INTAGLIO_ASSIGN(const AlignedBuffer features, impl_->encode(ids));
    return impl_->on_host(features);
  });
}

// The text features are not needed on the device once this is done.
Status Pipeline::Impl::prepare_sampler(const PictureRequest& r, Text& text,
                                       std::span<const float> sigmas, Picture& picture) {
  const int64_t grid_h = r.height / info().pixels_per_token;
  const int64_t grid_w = r.width / info().pixels_per_token;
  const bool guided = is_guided(r);
  std::vector<float> times;
  for (int64_t i = 0; i < r.steps; ++i) times.push_back(1.0f - sigmas[static_cast<size_t>(i)]);
  size_t scratch =
      conditional->scratch_bytes(context, picture.text_tokens, grid_h, grid_w, r.steps);
  if (guided) {
    scratch = std::max(scratch, unconditional->scratch_bytes(context, 0, grid_h, grid_w, r.steps));
  }
  // Layers that stream, of a tighter plan before this one, share their slots.
  const bool streams = picture.streamed_layers > 0;
  const uint64_t beside = guided && !streams && beside_scratch > 0
                              ? unconditional->scratch_bytes(context, 0, grid_h, grid_w, r.steps)
                              : 0;
  scratch += beside;
  INTAGLIO_TRY(reserve(scratch));
  picture.latents.resize(static_cast<size_t>(grid_h * grid_w * info().latent_channels));
  if (r.noise) {
    picture.latents = *r.noise;
  } else {
    fill_normal(r.seed, picture.latents.data(), static_cast<int64_t>(picture.latents.size()));
  }
  INTAGLIO_TRY(sampler.prepare(context, {.conditional = &*conditional,
                                         .unconditional = guided ? &*unconditional : nullptr,
                                         .text = {.tokens = picture.text_tokens,
                                                  .features = text.features.as<float>(),
                                                  .rows = text.rows ? text.rows->data() : nullptr},
                                         .grid_h = grid_h,
                                         .grid_w = grid_w,
                                         .times = times,
                                         .beside_bytes = beside}));
  if (text.rows == nullptr) INTAGLIO_TRY(keep_rows(text.ids));
  INTAGLIO_TRY(sampler.set_latents(context, picture.latents));
  INTAGLIO_TRY(synchronize(context));
  text.features = AlignedBuffer();
  return {};
}

Status Pipeline::Impl::denoise(const PictureRequest& r, const MemoryPlan& plan, Text& text,
                               Picture& picture, const ProgressCallback& progress) {
  const bool guided = is_guided(r);
  auto start = Clock::now();
  INTAGLIO_TRY(load_transformers(plan, guided));
  INTAGLIO_TRY(synchronize(context));
  picture.phase_ms[static_cast<size_t>(Phase::kLoadTransformers)] = elapsed_ms(start);
  for (const std::optional<ideogram4::Transformer>* model : {&conditional, &unconditional}) {
    if (model == &unconditional && !guided) continue;
    picture.streamed_layers += static_cast<int64_t>((*model)->streamed_layers());
    picture.streamed_bytes += (*model)->streamed_bytes();
  }
  start = Clock::now();
  const std::vector<float> sigmas = shifted_sigmas(
      schedule_sigmas(
          {.width = r.width, .height = r.height, .steps = r.steps, .mu = r.mu, .std = r.std}),
      info().shift);
  INTAGLIO_TRY(prepare_sampler(r, text, sigmas, picture));
  picture.phase_ms[static_cast<size_t>(Phase::kPrepare)] = elapsed_ms(start);

  start = Clock::now();
  INTAGLIO_TRY(run_steps(r, sigmas, picture, progress));
  picture.phase_ms[static_cast<size_t>(Phase::kDenoise)] = elapsed_ms(start);
  return {};
}

Status Pipeline::Impl::run_steps(const PictureRequest& r, std::span<const float> sigmas,
                                 Picture& picture, const ProgressCallback& progress) {
  for (int64_t i = 0; i < r.steps; ++i) {
    const auto step_start = Clock::now();
    if (progress) progress({Phase::kDenoise, i, r.steps});
    INTAGLIO_TRY(sampler.step(context, i, r.guidance[static_cast<size_t>(i)],
                              sigmas[static_cast<size_t>(i) + 1] - sigmas[static_cast<size_t>(i)]));
    INTAGLIO_ASSIGN(const uint32_t not_finite, sampler.finish_step(context));
    if (not_finite != 0) return not_finite_error(not_finite, r, i, options.selection.precision);
    picture.step_ms.push_back(elapsed_ms(step_start));
  }
  INTAGLIO_TRY(sampler.get_latents(context, picture.latents));
  if (progress) progress({Phase::kDenoise, r.steps, r.steps});
  return {};
}

Status Pipeline::Impl::decode(const PictureRequest& r, Picture& picture,
                              const ProgressCallback& progress) {
  auto start = Clock::now();
  INTAGLIO_TRY(load_vae());
  picture.phase_ms[static_cast<size_t>(Phase::kLoadVae)] = elapsed_ms(start);
  start = Clock::now();
  const int64_t latent_h = r.height / source->vae_config().scale_factor();
  const int64_t latent_w = r.width / source->vae_config().scale_factor();
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
  picture.phase_ms[static_cast<size_t>(Phase::kDecode)] = elapsed_ms(start);
  start = Clock::now();
  INTAGLIO_ASSIGN(picture.image, finish_picture(context, r.width, r.height, picture.planar));
  picture.phase_ms[static_cast<size_t>(Phase::kFinish)] = elapsed_ms(start);
  return {};
}

Expected<Picture> Pipeline::generate(const PictureRequest& request,
                                     const ProgressCallback& progress,
                                     const std::atomic<bool>* cancel) {
  impl_->context.cancel = cancel;
  auto picture =
      guard_memory("making the picture", [&] { return impl_->generate(request, progress); });
  impl_->context.cancel = nullptr;  // the caller's flag need not outlive the call
  return picture;
}

Expected<Picture> Pipeline::Impl::generate(const PictureRequest& request,
                                           const ProgressCallback& progress) {
  Impl& impl = *this;
  INTAGLIO_TRY(make_current(impl.context));
  INTAGLIO_TRY(impl.check_request(request));
  INTAGLIO_ASSIGN(const std::vector<int32_t> ids, impl.token_ids(request));
  INTAGLIO_ASSIGN(const MemoryPlan plan, impl.plan(request, static_cast<int64_t>(ids.size())));
  INTAGLIO_TRY(impl.check_pinned(plan));

  Picture picture;
  picture.text_tokens = static_cast<int64_t>(ids.size());
  picture.feature_dim = impl.source->text_config().feature_dim();
  picture.latent_channels = impl.info().latent_channels;
  picture.image_tokens = (request.width / impl.info().pixels_per_token) *
                         (request.height / impl.info().pixels_per_token);
  impl.kept_scratch = plan.keep_text ? plan.kept_scratch : 0;
  Impl::Text text{.ids = ids, .rows = nullptr, .features = {}};
  if (!request.keep_features) text.rows = impl.kept_rows(ids);
  if (text.rows == nullptr) {
    if (progress) progress({Phase::kLoadText, 0, 1});
    auto start = Clock::now();
    INTAGLIO_TRY(impl.load_text_encoder(picture.text_tokens));
    INTAGLIO_TRY(synchronize(impl.context));
    picture.phase_ms[static_cast<size_t>(Phase::kLoadText)] = elapsed_ms(start);
    start = Clock::now();
    INTAGLIO_ASSIGN(text.features, impl.encode(ids));
    if (request.keep_features) {
      INTAGLIO_ASSIGN(picture.features, impl.on_host(text.features));
    }
    INTAGLIO_TRY(synchronize(impl.context));
    picture.phase_ms[static_cast<size_t>(Phase::kText)] = elapsed_ms(start);
  }
  if (!plan.keep_text) impl.text_encoder.reset();
  impl.kept_scratch = plan.kept_scratch;
  impl.beside_scratch = plan.beside_scratch;
  if (progress) progress({Phase::kLoadTransformers, 0, 1});
  const Status denoised = impl.denoise(request, plan, text, picture, progress);
  if (plan.kept_scratch == 0) impl.sampler = Sampler();
  INTAGLIO_TRY(denoised);
  INTAGLIO_TRY(check_cancelled(impl.context));
  INTAGLIO_TRY(impl.decode(request, picture, progress));
  return picture;
}

}  // namespace intaglio
