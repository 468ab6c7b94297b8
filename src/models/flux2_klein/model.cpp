#include "models/flux2_klein/model.h"

#include <algorithm>

#include "models/flux2_klein/config_keys.h"
#include "models/flux2_klein/transformer.h"

namespace intaglio::flux2_klein {
namespace {

constexpr int64_t kDistilledSteps = 4, kBaseSteps = 50;
constexpr float kBaseGuidance = 4.0f;
constexpr int64_t kPromptTokens = 512;
constexpr const char* kPadding = "<|endoftext|>";

// Layers, counted from 1, whose outputs make the text features.
constexpr int64_t kStates[] = {9, 18, 27};

// Where noise levels lie (mu). Up to a size it changes with the steps, on a line through what was
// found at 10 and at 200 of them; larger pictures take that of 200.
double shift_exponent(int64_t image_tokens, int64_t steps) {
  constexpr double kMostTokens = 4300.0;
  const auto tokens = static_cast<double>(image_tokens);
  const double far = 0.00016927 * tokens + 0.45666666;  // at 200 steps
  if (tokens > kMostTokens) return far;
  const double near = 8.73809524e-5 * tokens + 1.89833333;  // at 10 steps
  const double slope = (far - near) / 190.0;
  return slope * static_cast<double>(steps) + far - 200.0 * slope;
}

Status set_states(const std::string& where, qwen3::TextEncoderConfig& config) {
  constexpr int64_t kLast = *std::rbegin(kStates);
  if (config.layers < kLast) {
    return make_error(ErrorCode::kUnsupported,
                      "{}num_hidden_layers: found {}, expected {} or more: text features are the "
                      "states behind layers {}, {} and {}",
                      where, config.layers, kLast, kStates[0], kStates[1], kStates[2]);
  }
  return qwen3::set_states({std::begin(kStates), std::end(kStates)}, where + "num_hidden_layers",
                           config);
}

}  // namespace

Model::ConfigTables Model::config_tables() const {
  return {model_index_keys(), flow_match_scheduler_keys(), transformer_keys()};
}

std::vector<Model::PartClasses> Model::part_classes() const {
  return {{"transformer", {"Flux2Transformer2DModel"}},
          {"text_encoder", {"Qwen3Model", "Qwen3ForCausalLM"}},
          {"vae", {"AutoencoderKLFlux2"}}};
}

// Padding is encoded and attended to, so every text has the same number of tokens.
qwen3::ChatForm Model::chat_form() const {
  return {.after = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
          .most_tokens = kPromptTokens,
          .cuts = true,
          .pads = true};
}

Status Model::describe_schedules(bool has_unconditional) {
  if (has_unconditional && !is_synthetic())
    return make_error(ErrorCode::kUnsupported,
                      "an unconditional transformer was given; FLUX.2 klein is guided by an empty "
                      "text");
  info_.branches = "one transformer, guided by an empty text";
  info_.negative_prompt_refusal =
      "what it steers away from is the empty text, always; guidance says how far";
  return {};
}

// The published variants' own numbers.
void Model::set_defaults(bool distilled) {
  info_.default_steps = distilled ? kDistilledSteps : kBaseSteps;
  info_.default_guidance = {.scale = distilled ? info_.no_guidance : kBaseGuidance};
  if (!distilled) return;
  info_.branches = "one transformer, distilled: no guidance";
  info_.unguided_reason = "is distilled, which model_index.json says (is_distilled)";
}

Status Model::read_index(const JsonConfig& index) {
  INTAGLIO_ASSIGN(const bool distilled, index.boolean_or("is_distilled", false));
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

Status Model::read_text_encoder(const JsonConfig& config, const JsonConfig&) {
  INTAGLIO_ASSIGN(text_, qwen3::parse_text_encoder_config(config));
  return set_states(config.where(), text_);
}

Status Model::set_sizes(std::string_view name) {
  const bool large = name.find("9b") != std::string_view::npos;
  transformer_ = published_config(large);
  text_ = large ? qwen3::qwen3_8b() : qwen3::qwen3_4b();
  vae_ = autoencoder::flux2_config();
  scheduler_.dynamic = true;
  set_defaults(name.find("base") == std::string_view::npos);
  return set_states(info_.name + ": ", text_);
}

// Of both kinds of blocks as many as of the whole model, as near as it goes.
void Model::set_layers(int64_t layers) {
  const int64_t all = transformer_.layers + transformer_.single_layers;
  const int64_t doubles = (layers * transformer_.layers + all / 2) / all;
  transformer_.layers = std::clamp<int64_t>(doubles, 1, std::max<int64_t>(layers - 1, 1));
  transformer_.single_layers = std::max<int64_t>(layers - transformer_.layers, 1);
}

Status Model::join_parts(const std::string& where) {
  if (text_.feature_dim() != transformer_.text_dim) {
    return make_error(ErrorCode::kBadFormat,
                      "{}: the text encoder gives {} features a token ({} channels x {} states), "
                      "the transformer reads {} (joint_attention_dim)",
                      where, text_.feature_dim(), text_.hidden, text_.taps.size(),
                      transformer_.text_dim);
  }
  vae_.packing = autoencoder::LatentPacking::kChannelSlowest;
  INTAGLIO_ASSIGN(text_.padding, token_id(kPadding));
  return join_latents(where, autoencoder::kFlux2Class, transformer_.channels);
}

std::unique_ptr<intaglio::Transformer> Model::make_transformer(int,
                                                               TransformerOptions options) const {
  return std::make_unique<Transformer>(transformer_, std::move(options));
}

Expected<std::unique_ptr<intaglio::Transformer>> Model::transformer_of(
    int, const JsonConfig& config, TransformerOptions options) const {
  INTAGLIO_ASSIGN(const TransformerConfig read, parse_transformer_config(config));
  return std::make_unique<Transformer>(read, std::move(options));
}

Expected<std::vector<std::vector<int32_t>>> Model::texts(const PictureRequest& request) const {
  return guided_texts(request, "");
}

std::vector<float> Model::levels_of(const FlowMatchScheduler& scheduler,
                                    const PictureRequest& r) const {
  const int64_t pixels = info_.pixels_per_token;
  const int64_t tokens = r.width / pixels * (r.height / pixels);
  return flow_match_sigmas_at(scheduler, r.steps, shift_exponent(tokens, r.steps));
}

// Guidance g: velocity = v_empty + g (v - v_empty) where g > 1.
Expected<Sampling> Model::sampling(const PictureRequest& r) const {
  INTAGLIO_TRY(check_no_guidance_limits(r));
  const std::vector<float> sigmas = levels_of(with_shift(scheduler_, r.shift), r);
  Sampling sampling{.passes = {{.transformer = 0, .text = 0}}, .time_is_noise = true};
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
  return levels_of(scheduler, r);
}

}  // namespace intaglio::flux2_klein
