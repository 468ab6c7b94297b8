#include "models/krea2/model.h"

#include <algorithm>

#include "models/krea2/config_keys.h"
#include "models/krea2/transformer.h"

namespace intaglio::krea2 {
namespace {

constexpr int64_t kTurboSteps = 8, kRawSteps = 52;
constexpr float kRawGuidance = 3.5f;
constexpr double kDistilledMu = 1.15;
constexpr int64_t kUnread = qwen3::kPictureTaskTokens;
constexpr int64_t kMostTokens = 512;  // beside the task's
constexpr const char* kDistilledKey = "is_distilled";

// States of the published models: every third of 36.
std::vector<int64_t> published_states() {
  std::vector<int64_t> states;
  for (int64_t i = 2; i < 36; i += 3) states.push_back(i);
  return states;
}

// The language model of Qwen3-VL-4B, without its taps.
qwen3::TextEncoderConfig published_text() {
  qwen3::TextEncoderConfig config = qwen3::qwen3_4b();
  config.rope_theta = 5e6;
  return config;
}

FlowMatchScheduler published_scheduler() {
  FlowMatchScheduler scheduler;
  scheduler.dynamic = true;
  scheduler.max_tokens = 6400;
  return scheduler;
}

}  // namespace

Model::ConfigTables Model::config_tables() const {
  return {model_index_keys(), flow_match_scheduler_keys(), transformer_keys()};
}

std::vector<Model::PartClasses> Model::part_classes() const {
  return {{"transformer", {"Krea2Transformer2DModel"}},
          {"text_encoder", {"Qwen3VLModel", "Qwen3VLForConditionalGeneration"}},
          {"vae", {autoencoder::kWanClass}}};
}

qwen3::ChatForm Model::chat_form() const {
  constexpr int64_t kEndTokens = 5;  // of the form's end
  return {.before = qwen3::kPictureTask,
          .most_tokens = kUnread + kMostTokens,
          .cuts = true,
          .end_tokens = kEndTokens};
}

Status Model::describe_schedules(bool has_unconditional) {
  if (has_unconditional && !is_synthetic())
    return make_error(ErrorCode::kUnsupported,
                      "an unconditional transformer was given; Krea 2 is guided by a second text");
  info_.branches = "one transformer, guided by a second text";
  info_.no_guidance = 0.0f;
  return {};
}

// The published variants' own numbers.
void Model::set_defaults(bool distilled) {
  distilled_ = distilled;
  info_.default_steps = distilled ? kTurboSteps : kRawSteps;
  info_.default_guidance = {.scale = distilled ? 0.0f : kRawGuidance};
}

Status Model::read_index(const JsonConfig& index) {
  INTAGLIO_ASSIGN(const bool distilled, index.boolean_or(kDistilledKey, false));
  set_defaults(distilled);
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

Status Model::read_text_encoder(const JsonConfig& config, const JsonConfig& index) {
  constexpr const char* kStates = "text_encoder_select_layers";
  INTAGLIO_ASSIGN(text_, qwen3::parse_text_encoder_config(config));
  std::vector<int64_t> states = published_states();
  if (index.contains(kStates)) {
    INTAGLIO_ASSIGN(states, index.integers(kStates, 0, int64_t{1} << 20, 1024));
  }
  return qwen3::set_states(states, index.where() + kStates, text_);
}

Status Model::set_sizes(std::string_view name) {
  transformer_ = published_config();
  text_ = published_text();
  vae_ = autoencoder::qwen_image_config();
  scheduler_ = published_scheduler();
  info_.shift = scheduler_.shift;
  set_defaults(name == "krea2-turbo");
  return qwen3::set_states(published_states(), info_.name, text_);
}

Status Model::join_parts(const std::string& where) {
  if (static_cast<int64_t>(text_.taps.size()) != transformer_.taps ||
      text_.feature_dim() != transformer_.text_dim()) {
    return make_error(ErrorCode::kBadFormat,
                      "{}: the text encoder gives {} states of {} channels a token, the "
                      "transformer reads {} of {} (num_text_layers, text_hidden_dim)",
                      where, text_.taps.size(), text_.hidden, transformer_.taps,
                      transformer_.text_block.width());
  }
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
                                               std::optional<int64_t> most_tokens) const {
  if (most_tokens) most_tokens = *most_tokens + kUnread;
  return DiffusersModel::tokenize(prompt, most_tokens);
}

Expected<std::vector<std::vector<int32_t>>> Model::texts(const PictureRequest& request) const {
  INTAGLIO_ASSIGN(auto texts, guided_texts(request, request.negative_prompt.value_or("")));
  for (const std::vector<int32_t>& text : texts)
    INTAGLIO_TRY(qwen3::check_behind_task(info_.name, text));
  return texts;
}

std::vector<float> Model::noise_levels(const FlowMatchScheduler& scheduler, bool distilled,
                                       const PictureRequest& r) const {
  const int64_t pixels = info_.pixels_per_token;
  return distilled ? flow_match_sigmas_at(scheduler, r.steps, kDistilledMu)
                   : flow_match_sigmas(scheduler, r.steps, r.width / pixels * (r.height / pixels));
}

// Guidance g: velocity = v + g (v - v_negative) where g > 0.
Expected<Sampling> Model::sampling(const PictureRequest& r) const {
  INTAGLIO_TRY(check_guidance(r));
  INTAGLIO_TRY(check_no_guidance_limits(r));
  const std::vector<float> sigmas = noise_levels(with_shift(scheduler_, r.shift), distilled_, r);
  Sampling sampling{.passes = {{.transformer = 0, .text = 0}}, .time_is_noise = true};
  const bool guided = is_guided(r);
  if (guided) sampling.passes.push_back({.transformer = 0, .text = 1});
  for (size_t i = 0; i < static_cast<size_t>(r.steps); ++i) {
    // The transformer's time is the noise level, and its velocity points from picture to noise.
    const float g = r.guidance[i];
    SamplingStep step{.time = sigmas[i], .delta = sigmas[i] - sigmas[i + 1], .weights = {1.0f + g}};
    if (guided) step.weights.push_back(-g);
    sampling.steps.push_back(std::move(step));
  }
  return sampling;
}

Expected<std::vector<float>> Model::sigmas(const PictureRequest& r,
                                           const JsonConfig& settings) const {
  INTAGLIO_ASSIGN(const JsonConfig config, settings.object("scheduler"));
  INTAGLIO_ASSIGN(const FlowMatchScheduler scheduler, read_flow_match_scheduler(config));
  INTAGLIO_ASSIGN(const bool distilled, settings.boolean_or(kDistilledKey, false));
  return noise_levels(scheduler, distilled, r);
}

}  // namespace intaglio::krea2
