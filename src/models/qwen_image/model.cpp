#include "models/qwen_image/model.h"

#include <fmt/format.h>

#include <algorithm>

#include "models/qwen_image/config_keys.h"
#include "models/qwen_image/transformer.h"

namespace intaglio::qwen_image {
namespace {

constexpr int64_t kSteps = 50;
constexpr float kGuidance = 4.0f;
constexpr std::string_view kNegative = " ";  // where nobody gives another
constexpr int64_t kSide = 1328;              // that it was trained at

constexpr int64_t kUnread = qwen3::kPictureTaskTokens;
// Beside the task's: what the text encoder reads, and what the transformer reads unless asked for
// more.
constexpr int64_t kMostEncoded = 1024, kMostRead = 512;

// Of the Lightning adapters: noise levels of a fixed shift, no guidance.
Preset lightning(int64_t steps) {
  constexpr double kShift = 3.0;
  return {.name = fmt::format("LIGHTNING_{}", steps),
          .steps = steps,
          .shift = kShift,
          .guidance = std::vector<float>(static_cast<size_t>(steps), 1.0f)};
}

FlowMatchScheduler published_scheduler() {
  FlowMatchScheduler scheduler;
  scheduler.dynamic = true;
  scheduler.max_shift = 0.9;
  scheduler.max_tokens = 8192;
  scheduler.terminal = 0.02;
  return scheduler;
}

}  // namespace

Model::ConfigTables Model::config_tables() const {
  return {model_index_keys(), flow_match_scheduler_keys(), transformer_keys()};
}

std::vector<Model::PartClasses> Model::part_classes() const {
  return {{"transformer", {"QwenImageTransformer2DModel"}},
          {"text_encoder", {"Qwen2_5_VLForConditionalGeneration", "Qwen2_5_VLModel"}},
          {"vae", {autoencoder::kWanClass}}};
}

qwen3::ChatForm Model::chat_form() const {
  return {.before = qwen3::kPictureTask, .most_tokens = kUnread + kMostEncoded, .cuts = true};
}

Status Model::describe_schedules(bool has_unconditional) {
  if (has_unconditional && !is_synthetic())
    return make_error(ErrorCode::kUnsupported,
                      "an unconditional transformer was given; Qwen-Image is guided by a second "
                      "text");
  info_.branches = "one transformer, guided by a second text";
  info_.guides_unasked = false;
  info_.presets = {lightning(8), lightning(4)};
  info_.presets_by_steps = false;  // without the adapter they draw blurs
  info_.default_steps = kSteps;
  info_.default_guidance = {.scale = kGuidance};
  info_.default_width = kSide;
  info_.default_height = kSide;
  return {};
}

Status Model::read_scheduler(const JsonConfig& config) {
  INTAGLIO_ASSIGN(scheduler_, read_flow_match_scheduler(config));
  info_.shift = scheduler_.shift;
  return {};
}

Status Model::read_transformer(int, const JsonConfig& config) {
  INTAGLIO_ASSIGN(transformer_, parse_transformer_config(config));
  return {};
}

// The features are what the language model itself would read words from.
Status Model::read_text_encoder(const JsonConfig& config, const JsonConfig&) {
  INTAGLIO_ASSIGN(text_, qwen3::parse_text_encoder_config(config));
  if (!text_.qkv_bias)
    return make_error(ErrorCode::kUnsupported,
                      "{}model_type: found a Qwen3, supported is Qwen2.5-VL, whose states "
                      "Qwen-Image reads",
                      config.where());
  return qwen3::set_states({text_.layers}, config.where() + "num_hidden_layers", text_);
}

Status Model::set_sizes(std::string_view) {
  transformer_ = published_config();
  text_ = qwen3::qwen2_5_7b();
  vae_ = autoencoder::qwen_image_config();
  scheduler_ = published_scheduler();
  info_.shift = scheduler_.shift;
  return qwen3::set_states({text_.layers}, info_.name, text_);
}

Status Model::join_parts(const std::string& where) {
  if (text_.feature_dim() != transformer_.text_dim) {
    return make_error(ErrorCode::kBadFormat,
                      "{}: the text encoder gives {} features a token, the transformer reads {} "
                      "(joint_attention_dim)",
                      where, text_.feature_dim(), transformer_.text_dim);
  }
  vae_.packing = autoencoder::LatentPacking::kChannelSlowest;
  return join_latents(where, autoencoder::kWanClass, transformer_.channels);
}

std::unique_ptr<intaglio::Transformer> Model::make_transformer(int,
                                                               TransformerOptions options) const {
  return std::make_unique<Transformer>(transformer_, std::move(options), kUnread);
}

Expected<std::unique_ptr<intaglio::Transformer>> Model::transformer_of(
    int, const JsonConfig& config, TransformerOptions options) const {
  INTAGLIO_ASSIGN(const TransformerConfig read, parse_transformer_config(config));
  return std::make_unique<Transformer>(read, std::move(options), 0);
}

Expected<std::vector<int32_t>> Model::tokenize(std::string_view prompt,
                                               std::optional<int64_t>) const {
  return DiffusersModel::tokenize(prompt);
}

Expected<std::vector<std::vector<int32_t>>> Model::texts(const PictureRequest& request) const {
  const int64_t most = request.max_sequence_length.value_or(kMostRead);
  if (most < 1 || most > kMostEncoded)
    return make_error(ErrorCode::kInvalidArgument,
                      "max_sequence_length: {} reads 1 to {}, found {}", info_.name, kMostEncoded,
                      most);
  const std::string negative = request.negative_prompt.value_or(std::string(kNegative));
  INTAGLIO_ASSIGN(auto texts, guided_texts(request, negative));
  // Tokens attend to those before them alone, so a row is the same without those behind it.
  for (std::vector<int32_t>& text : texts) {
    text.resize(std::min(text.size(), static_cast<size_t>(kUnread + most)));
    INTAGLIO_TRY(qwen3::check_behind_task(info_.name, text));
  }
  return texts;
}

std::vector<float> Model::noise_levels(const FlowMatchScheduler& scheduler,
                                       const PictureRequest& r) const {
  const int64_t pixels = info_.pixels_per_token;
  return flow_match_sigmas(scheduler, r.steps, r.width / pixels * (r.height / pixels));
}

// Guidance g: velocity = v_negative + g (v - v_negative) where g > 1.
Expected<Sampling> Model::sampling(const PictureRequest& r) const {
  INTAGLIO_TRY(check_no_guidance_limits(r));
  const std::vector<float> sigmas = noise_levels(with_shift(scheduler_, r.shift), r);
  Sampling sampling{
      .passes = {{.transformer = 0, .text = 0}}, .matches_norms = true, .time_is_noise = true};
  const bool guided = is_guided(r);
  if (guided) sampling.passes.push_back({.transformer = 0, .text = 1});
  for (size_t i = 0; i < static_cast<size_t>(r.steps); ++i) {
    const float g = std::max(r.guidance[i], info_.no_guidance);
    // The model's time is the noise level, and its velocity leads away from the picture.
    SamplingStep step{.time = sigmas[i], .delta = sigmas[i] - sigmas[i + 1], .weights = {g}};
    if (guided) step.weights.push_back(1.0f - g);
    sampling.steps.push_back(std::move(step));
  }
  return sampling;
}

Expected<std::vector<float>> Model::sigmas(const PictureRequest& r,
                                           const JsonConfig& settings) const {
  INTAGLIO_ASSIGN(const JsonConfig config, settings.object("scheduler"));
  INTAGLIO_ASSIGN(const FlowMatchScheduler scheduler, read_flow_match_scheduler(config));
  return noise_levels(scheduler, r);
}

}  // namespace intaglio::qwen_image
