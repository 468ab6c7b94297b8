#include "pipeline/pipeline.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/finite.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/out_of_memory.h"
#include "models/choose_picture.h"
#include "models/progressive.h"
#include "models/registry.h"
#include "pipeline/finish_picture.h"
#include "pipeline/pipeline_impl.h"

namespace intaglio {
namespace {

// Projected text that is worth keeping in host memory; the oldest goes first.
constexpr size_t kTextCacheBytes = size_t{256} << 20;

Status check_adapters(const Model& model, std::span<const AdapterUse> adapters) {
  INTAGLIO_ASSIGN(const std::vector<std::string> unmatched, model.check_adapters(adapters));
  for (const std::string& warning : unmatched) log(LogLevel::kWarning, "{}", OwnLines{warning});
  return {};
}

}  // namespace

PassSize PicturePlan::pass_size(const Pass& pass, StepSize size) const {
  const int64_t divisor = size == StepSize::kHalf ? 2 : 1;
  return {.text_tokens = pass.text == Pass::kNoText
                             ? 0
                             : static_cast<int64_t>(texts[static_cast<size_t>(pass.text)].size()),
          .grid_h = grid_h / divisor,
          .grid_w = grid_w / divisor};
}

Pipeline::Pipeline(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Pipeline::~Pipeline() = default;
const ModelInfo& Pipeline::info() const { return impl_->info(); }
const Context& Pipeline::context() const { return impl_->context; }
const Context* Pipeline::second_context() const {
  return impl_->second != nullptr ? &impl_->second->context : nullptr;
}

std::vector<const Context*> Pipeline::rank_contexts() const {
  std::vector<const Context*> contexts;
  for (const auto& rank : impl_->ranks) contexts.push_back(&rank->context);
  return contexts;
}

std::vector<const Context*> Pipeline::other_contexts() const {
  std::vector<const Context*> contexts = rank_contexts();
  // Between those that share the first pass and those that share its own.
  if (const Context* const second = second_context())
    contexts.insert(contexts.begin() + (impl_->split_of(0).ranks - 1), second);
  return contexts;
}

void use_devices(PipelineOptions& options, const DeviceChoice& devices) {
  options.gpu = devices.gpu;
  options.second_gpu = devices.second_gpu;
  options.rank_gpus = devices.rank_gpus;
  options.second_rank_gpus = devices.second_rank_gpus;
}

Expected<std::unique_ptr<Pipeline>> Pipeline::open(const std::filesystem::path& folder,
                                                   const PipelineOptions& options) {
  return guard_memory("opening a model", [&]() -> Expected<std::unique_ptr<Pipeline>> {
    INTAGLIO_ASSIGN(std::shared_ptr<const Model> model, open_model({.folder = folder}));
    return open(std::move(model), options);
  });
}

Expected<std::unique_ptr<Pipeline>> Pipeline::open(std::shared_ptr<const Model> model,
                                                   const PipelineOptions& options) {
  return guard_memory("opening a model", [&]() -> Expected<std::unique_ptr<Pipeline>> {
    INTAGLIO_TRY(check_rank_gpus(options));
    INTAGLIO_TRY(check_second_gpu(model->info(), options));
    INTAGLIO_ASSIGN(DeviceContext device, open_device(options.gpu, options.threads));
    INTAGLIO_TRY(options.selection.check_device(device.context));
    INTAGLIO_TRY(options.attention.check_device(device.context));
    INTAGLIO_ASSIGN(const uint64_t memory_limit, memory_limit_of(device.context, options));
    INTAGLIO_TRY(model->check_keep_bf16(options.selection));
    INTAGLIO_TRY(check_adapters(*model, options.adapters));
    auto impl = std::make_unique<Impl>();
    impl->model = std::move(model);
    impl->transformers.resize(static_cast<size_t>(impl->model->transformers()));
    impl->options = options;
    impl->stream = std::move(device.stream);
    impl->context = device.context;
    impl->context.scratch = &impl->arena;
    impl->memory_limit = memory_limit;
    if (options.second_gpu) INTAGLIO_TRY(impl->open_second());
    INTAGLIO_TRY(impl->open_ranks());
    return std::unique_ptr<Pipeline>(new Pipeline(std::move(impl)));
  });
}

Status Pipeline::set_adapters(std::vector<AdapterUse> adapters) {
  return guard_memory("changing the adapters", [&]() -> Status {
    INTAGLIO_TRY(make_current(impl_->context));
    INTAGLIO_TRY(check_adapters(*impl_->model, adapters));
    impl_->take_adapters(std::move(adapters));
    return {};
  });
}

Expected<std::string> Pipeline::model_hash(const std::atomic<bool>* cancel) {
  return guard_memory("hashing the weights", [&] { return impl_->model->hash(cancel); });
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
  const int64_t tokens = (r.width / unit) * (r.height / unit);
  if (r.noise && r.noise->size() != static_cast<size_t>(tokens * info().latent_channels)) {
    return make_error(ErrorCode::kShapeMismatch,
                      "noise has {} values; expected {} tokens x {} channels = {} for {}x{} pixels",
                      r.noise->size(), tokens, info().latent_channels,
                      tokens * info().latent_channels, r.width, r.height);
  }
  if (r.noise && !all_finite(*r.noise))
    return make_error(ErrorCode::kInvalidArgument, "the noise holds a NaN or an Inf");
  if (!r.init) return {};
  INTAGLIO_TRY(check_init_picture(*r.init, r.width, r.height));
  return model->check_encoder();
}

Expected<PicturePlan> Pipeline::plan(const PictureRequest& request) {
  return guard_memory("planning the picture", [&] { return impl_->plan(request); });
}

Expected<PicturePlan> Pipeline::Impl::plan(const PictureRequest& request) const {
  INTAGLIO_TRY(make_current(context));
  INTAGLIO_TRY(check_request(request));
  PicturePlan plan;
  plan.request = request;
  plan.grid_h = request.height / info().pixels_per_token;
  plan.grid_w = request.width / info().pixels_per_token;
  INTAGLIO_ASSIGN(plan.texts, model->texts(request));
  INTAGLIO_ASSIGN(plan.sampling, model->sampling(request));
  INTAGLIO_ASSIGN(plan.sampling.mask, choose_mask(*model, request, plan.sampling));
  INTAGLIO_ASSIGN(const int64_t half_steps, choose_half_steps(request, info().pixels_per_token));
  begin_at_half_size(half_steps, plan.sampling);
  if (request.init) skip_steps(skipped_steps(request.init->strength, request.steps), plan.sampling);
  if (!reads_negative_prompt(plan.sampling)) plan.request.negative_prompt.reset();
  plan.loaded = loaded();
  plan.adapters = options.adapters;
  INTAGLIO_TRY(plan_memory_of(plan));
  INTAGLIO_TRY(check_pinned(plan));
  return plan;
}

std::shared_ptr<const std::vector<float>> Pipeline::Impl::kept_rows(
    int transformer, const std::vector<int32_t>& ids) const {
  for (const KeptText& text : kept_texts)
    if (text.transformer == transformer && text.ids == ids) return text.rows;
  return nullptr;
}

Status Pipeline::Impl::keep_rows(size_t pass, int transformer, const std::vector<int32_t>& ids) {
  if (kept_rows(transformer, ids) != nullptr) return {};  // encoded again for its features
  INTAGLIO_ASSIGN(std::vector<float> rows, sampler.text_rows(context, pass));
  kept_texts.push_back({transformer, ids, std::make_shared<std::vector<float>>(std::move(rows))});
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
  const size_t values = ids.size() * static_cast<size_t>(model->text_config().feature_dim());
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
                                                   std::optional<int64_t> most_tokens,
                                                   std::vector<int32_t>* ids_out) {
  return guard_memory("reading the prompt", [&]() -> Expected<std::vector<float>> {
    INTAGLIO_TRY(make_current(impl_->context));
    INTAGLIO_ASSIGN(const std::vector<int32_t> ids, impl_->model->tokenize(prompt, most_tokens));
    const auto tokens = static_cast<int64_t>(ids.size());
    INTAGLIO_TRY(impl_->load_text_encoder(tokens, tokens));
    if (ids_out != nullptr) *ids_out = ids;
    INTAGLIO_ASSIGN(const AlignedBuffer features, impl_->encode(ids));
    return impl_->on_host(features);
  });
}

Status Pipeline::Impl::decode(const PicturePlan& plan, Picture& picture,
                              const ProgressCallback& progress) {
  const PictureRequest& r = plan.request;
  auto start = Clock::now();
  INTAGLIO_TRY(load_vae());
  picture.phase_ms[static_cast<size_t>(Phase::kLoadVae)] = elapsed_ms(start);
  start = Clock::now();
  const int64_t latent_h = r.height / model->vae_config().scale_factor();
  const int64_t latent_w = r.width / model->vae_config().scale_factor();
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
  if (r.init) keep_given_pixels(*r.init, picture.image, picture.planar);
  picture.phase_ms[static_cast<size_t>(Phase::kFinish)] = elapsed_ms(start);
  return {};
}

Expected<Picture> Pipeline::generate(const PictureRequest& request,
                                     const ProgressCallback& progress,
                                     const std::atomic<bool>* cancel) {
  INTAGLIO_ASSIGN(const PicturePlan planned, plan(request));
  return generate(planned, progress, cancel);
}

Expected<Picture> Pipeline::generate(const PicturePlan& plan, const ProgressCallback& progress,
                                     const std::atomic<bool>* cancel,
                                     const StepEstimates& estimates) {
  impl_->stop_on(cancel);
  impl_->estimates = &estimates;
  auto picture =
      guard_memory("making the picture", [&] { return impl_->generate(plan, progress); });
  impl_->stop_on(nullptr);  // the caller's flag need not outlive the call
  impl_->estimates = nullptr;
  return picture;
}

// Features of every text that no earlier picture's rows stand for.
Expected<std::vector<Pipeline::Impl::Text>> Pipeline::Impl::read_texts(
    const PicturePlan& plan, Picture& picture, const ProgressCallback& progress) {
  std::vector<Text> texts;
  int64_t longest = 0, all = 0;
  for (size_t i = 0; i < plan.texts.size(); ++i) {
    Text text{.ids = plan.texts[i], .rows = nullptr, .features = {}};
    const auto reader =
        std::find_if(plan.sampling.passes.begin(), plan.sampling.passes.end(),
                     [&](const Pass& pass) { return pass.text == static_cast<int>(i); });
    const bool keep_features = i == 0 && plan.request.keep_features;
    if (!keep_features && reader != plan.sampling.passes.end())
      text.rows = kept_rows(reader->transformer, text.ids);
    if (text.rows == nullptr) {
      longest = std::max(longest, static_cast<int64_t>(text.ids.size()));
      all += static_cast<int64_t>(text.ids.size());
    }
    texts.push_back(std::move(text));
  }
  if (longest == 0) return texts;
  if (progress) progress({Phase::kLoadText, 0, 1});
  auto start = Clock::now();
  INTAGLIO_TRY(load_text_encoder(longest, all));
  INTAGLIO_TRY(synchronize(context));
  picture.phase_ms[static_cast<size_t>(Phase::kLoadText)] = elapsed_ms(start);
  start = Clock::now();
  for (Text& text : texts) {
    if (text.rows != nullptr) continue;
    INTAGLIO_ASSIGN(text.features, encode(text.ids));
  }
  if (plan.request.keep_features) {
    INTAGLIO_ASSIGN(picture.features, on_host(texts.front().features));
  }
  INTAGLIO_TRY(synchronize(context));
  picture.phase_ms[static_cast<size_t>(Phase::kText)] = elapsed_ms(start);
  return texts;
}

Expected<Picture> Pipeline::Impl::generate(const PicturePlan& planned,
                                           const ProgressCallback& progress) {
  INTAGLIO_TRY(make_current(context));
  PicturePlan plan = planned;
  if (plan.loaded != loaded() || plan.adapters != options.adapters ||
      plan.second_memory.has_value() != (second != nullptr) || !ranks.empty()) {
    // Pictures since then have loaded transformers, which may stay, or dropped some.
    plan.loaded = loaded();
    plan.adapters = options.adapters;
    INTAGLIO_TRY(plan_memory_of(plan));
  }
  INTAGLIO_TRY(check_pinned(plan));
  if (plan.sampling.half_steps == 0) half_sampler = Sampler();  // the plan does not count it
  Picture picture;
  picture.text_tokens = plan.text_tokens();
  picture.feature_dim = model->text_config().feature_dim();
  picture.latent_channels = info().latent_channels;
  picture.image_tokens = plan.image_tokens();
  kept_scratch = plan.memory.keep_text ? plan.memory.kept_scratch : 0;
  INTAGLIO_ASSIGN(std::vector<Text> texts, read_texts(plan, picture, progress));
  if (!plan.memory.keep_text) text_encoder.reset();
  kept_scratch = plan.memory.kept_scratch;
  beside_scratch = plan.memory.beside_scratch;
  if (progress) progress({Phase::kLoadTransformers, 0, 1});
  const Status denoised = denoise(plan, texts, picture, progress);
  if (plan.memory.kept_scratch == 0) drop_samplers();
  INTAGLIO_TRY(denoised);
  INTAGLIO_TRY(check_cancelled(context));
  if (!plan.request.decode) return picture;
  INTAGLIO_TRY(decode(plan, picture, progress));
  return picture;
}

}  // namespace intaglio
