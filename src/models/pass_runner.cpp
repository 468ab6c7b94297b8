#include "models/pass_runner.h"

#include "core/memory.h"

namespace intaglio {

std::vector<float> times_of(const Sampling& sampling) {
  std::vector<float> times;
  for (const SamplingStep& step : sampling.steps) times.push_back(step.time);
  return times;
}

PassRunner::PassRunner(const Context& context, const Model& model, TransformerOptions options)
    : context_(context), model_(model), options_(std::move(options)) {
  context_.scratch = arena_.get();
}

Expected<PassRunner::Texts> PassRunner::plan(const PictureRequest& request) const {
  const int64_t unit = model_.info().pixels_per_token;
  if (request.width < unit || request.height < unit || request.width % unit != 0 ||
      request.height % unit != 0) {
    return make_error(ErrorCode::kInvalidArgument, "{}x{} pixels, expected multiples of {}",
                      request.width, request.height, unit);
  }
  if (request.steps < 1 || request.steps > kMaxSteps)
    return make_error(ErrorCode::kInvalidArgument, "{} steps, expected 1 to {}", request.steps,
                      kMaxSteps);
  Texts texts{.ids = {},
              .features = {},
              .sampling = {},
              .grid_h = request.height / unit,
              .grid_w = request.width / unit};
  INTAGLIO_ASSIGN(texts.ids, model_.texts(request));
  INTAGLIO_ASSIGN(texts.sampling, model_.sampling(request));
  return texts;
}

// Room for `bytes` of scratch.
Status PassRunner::reserve(size_t bytes) {
  if (bytes <= arena_->capacity()) return {};
  *arena_ = Arena();
  INTAGLIO_ASSIGN(AlignedBuffer block, allocate(context_, bytes));
  *arena_ = Arena(std::move(block));
  return {};
}

Status PassRunner::encode(const qwen3::TextEncoder& encoder, Texts& texts) {
  const auto width = static_cast<size_t>(model_.text_config().feature_dim());
  for (const std::vector<int32_t>& ids : texts.ids) {
    INTAGLIO_TRY(check_cancelled(context_));
    INTAGLIO_TRY(reserve(encoder.scratch_bytes(context_, static_cast<int64_t>(ids.size()))));
    std::vector<float> features(ids.size() * width);
    const size_t bytes = features.size() * sizeof(float);
    INTAGLIO_ASSIGN(const AlignedBuffer computed, allocate(context_, bytes));
    INTAGLIO_TRY(encoder.encode(context_, ids, computed.as<float>()));
    INTAGLIO_TRY(copy_out(context_, features.data(), computed.data(), bytes));
    texts.features.push_back(std::move(features));
  }
  return {};
}

Expected<std::vector<PassRunner::Texts>> PassRunner::load(
    std::span<const PictureRequest> requests) {
  std::vector<Texts> all;
  for (const PictureRequest& request : requests) {
    INTAGLIO_ASSIGN(Texts texts, plan(request));
    all.push_back(std::move(texts));
  }
  {
    INTAGLIO_ASSIGN(const qwen3::TextEncoder encoder,
                    model_.load_text_encoder(context_, options_.selection, 0));
    for (Texts& texts : all) INTAGLIO_TRY(encode(encoder, texts));
  }
  transformers_.clear();
  for (int which = 0; which < model_.transformers(); ++which) {
    INTAGLIO_ASSIGN(std::unique_ptr<Transformer> transformer,
                    model_.load_transformer(context_, which, options_));
    transformers_.push_back(std::move(transformer));
  }
  return all;
}

const Transformer& PassRunner::transformer(const Texts& texts, size_t pass) const {
  return *transformers_[static_cast<size_t>(texts.sampling.passes[pass].transformer)];
}

Expected<PassRunner::Picture> PassRunner::prepare(const Texts& texts,
                                                  std::span<const float> times) {
  Picture picture{.texts = &texts, .sessions = {}, .velocities = {}};
  picture.sessions.resize(texts.sampling.passes.size());
  picture.velocities.resize(texts.sampling.passes.size());
  for (size_t pass = 0; pass < picture.sessions.size(); ++pass)
    INTAGLIO_TRY(prepare_pass(picture, pass, times));
  return picture;
}

Status PassRunner::prepare_pass(Picture& picture, size_t pass, std::span<const float> times) {
  const Texts& texts = *picture.texts;
  const Transformer& transformer = this->transformer(texts, pass);
  const int read = texts.sampling.passes[pass].text;
  TextInput text;
  AlignedBuffer features;
  if (read != Pass::kNoText) {
    const auto which = static_cast<size_t>(read);
    INTAGLIO_ASSIGN(features, upload(context_, texts.features[which]));
    text = {.tokens = static_cast<int64_t>(texts.ids[which].size()),
            .features = features.as<float>()};
  }
  const PassSize size{.text_tokens = text.tokens, .grid_h = texts.grid_h, .grid_w = texts.grid_w};
  INTAGLIO_TRY(
      reserve(transformer.scratch_bytes(context_, size, static_cast<int64_t>(times.size()))));
  INTAGLIO_TRY(transformer.prepare(context_, text, texts.grid_h, texts.grid_w, times,
                                   picture.sessions[pass]));
  INTAGLIO_TRY(synchronize(context_));  // the features go
  picture.velocities[pass].resize(
      static_cast<size_t>(size.image_tokens() * transformer.channels()));
  return {};
}

Status PassRunner::forward(Picture& picture, size_t pass, int64_t step,
                           std::span<const float> latents) {
  const Transformer& transformer = this->transformer(*picture.texts, pass);
  TransformerSession& session = picture.sessions[pass];
  std::vector<float>& velocity = picture.velocities[pass];
  INTAGLIO_TRY(transformer.select_step(context_, session, step));
  if (context_.gpu == nullptr)
    return transformer.forward(context_, session, latents.data(), velocity.data());
  INTAGLIO_ASSIGN(const AlignedBuffer read, upload(context_, latents));
  const size_t bytes = velocity.size() * sizeof(float);
  INTAGLIO_ASSIGN(const AlignedBuffer computed, allocate(context_, bytes));
  INTAGLIO_TRY(transformer.forward(context_, session, read.as<float>(), computed.as<float>()));
  return copy_out(context_, velocity.data(), computed.data(), bytes);
}

}  // namespace intaglio
