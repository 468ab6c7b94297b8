#include "models/z_image/model.h"

#include <algorithm>

#include "models/z_image/config_keys.h"
#include "models/z_image/transformer.h"

namespace intaglio::z_image {
namespace {

constexpr double kTurboShift = 3.0, kBaseShift = 6.0;
constexpr int64_t kTurboSteps = 8, kBaseSteps = 50;
constexpr float kBaseGuidance = 4.0f;

// That of FLUX.1.
autoencoder::DecoderConfig published_vae() {
  autoencoder::DecoderConfig config;
  config.latent_channels = 16;
  config.widths = {128, 256, 512, 512};
  config.layers_per_block = 2;
  config.norm_groups = 32;
  config.batch_norm = false;
  config.scaling_factor = 0.3611;
  config.shift_factor = 0.1159;
  config.post_quant_conv = false;
  return config;
}

}  // namespace

Model::ConfigTables Model::config_tables() const {
  return {model_index_keys(), flow_match_scheduler_keys(), transformer_keys()};
}

std::vector<Model::PartClasses> Model::part_classes() const {
  return {{"transformer", {"ZImageTransformer2DModel"}},
          {"text_encoder", {"Qwen3Model", "Qwen3ForCausalLM"}},
          {"vae", {"AutoencoderKL"}}};
}

Status Model::describe_schedules(bool has_unconditional) {
  if (has_unconditional && !is_synthetic())
    return make_error(ErrorCode::kUnsupported,
                      "an unconditional transformer was given; Z-Image is guided by a second text");
  info_.branches = "one transformer, guided by a second text";
  info_.no_guidance = 0.0f;
  return {};
}

// The published variants' own numbers.
void Model::set_defaults() {
  const bool turbo = !scheduler_.dynamic && scheduler_.shift == kTurboShift;
  info_.shift = scheduler_.shift;
  info_.default_steps = turbo ? kTurboSteps : kBaseSteps;
  const float guidance = turbo ? 0.0f : kBaseGuidance;
  info_.default_guidance = {.scale = guidance};
}

Status Model::read_scheduler(const JsonConfig& config) {
  INTAGLIO_ASSIGN(scheduler_, read_flow_match_scheduler(config));
  set_defaults();
  return {};
}

Status Model::read_transformer(int, const JsonConfig& config) {
  INTAGLIO_ASSIGN(transformer_, parse_transformer_config(config));
  return {};
}

// The features are the state before the last layer, which is not run.
Status Model::read_text_encoder(const JsonConfig& config, const JsonConfig&) {
  INTAGLIO_ASSIGN(text_, qwen3::parse_text_encoder_config(config));
  return qwen3::set_taps({text_.layers - 2}, config.where() + "num_hidden_layers", text_);
}

Status Model::set_sizes(std::string_view name) {
  transformer_ = published_config();
  text_ = qwen3::qwen3_4b();
  text_.taps = {text_.layers - 2};
  vae_ = published_vae();
  scheduler_.shift = name == "z-image-turbo" ? kTurboShift : kBaseShift;
  set_defaults();
  return {};
}

Status Model::join_parts(const std::string& where) {
  if (text_.feature_dim() != transformer_.text_dim) {
    return make_error(ErrorCode::kBadFormat,
                      "{}: the text encoder gives {} features a token, the transformer reads {} "
                      "(cap_feat_dim)",
                      where, text_.feature_dim(), transformer_.text_dim);
  }
  return join_latents(where, autoencoder::kKlClass, transformer_.channels);
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
  return guided_texts(request, request.negative_prompt.value_or(""));
}

// Guidance g: velocity = v + g (v - v_negative) where g > 0.
Expected<Sampling> Model::sampling(const PictureRequest& r) const {
  INTAGLIO_TRY(check_guidance(r));
  if (!(r.cfg_normalization >= 0.0))
    return make_error(ErrorCode::kInvalidArgument,
                      "cfg_normalization: expected 0 or more, found {}", r.cfg_normalization);
  const int64_t pixels = info_.pixels_per_token;
  const std::vector<float> sigmas = flow_match_sigmas(with_shift(scheduler_, r.shift), r.steps,
                                                      r.width / pixels * (r.height / pixels));
  Sampling sampling{.passes = {{.transformer = 0, .text = 0}}};
  const bool guided = is_guided(r);
  if (guided) sampling.passes.push_back({.transformer = 0, .text = 1});
  sampling.velocity_limit = static_cast<float>(r.cfg_normalization);
  for (size_t i = 0; i < static_cast<size_t>(r.steps); ++i) {
    const float time = 1.0f - sigmas[i];
    const float g = static_cast<double>(time) > r.cfg_truncation ? 0.0f : r.guidance[i];
    SamplingStep step{.time = time, .delta = sigmas[i + 1] - sigmas[i], .weights = {1.0f + g}};
    if (guided) step.weights.push_back(-g);
    sampling.steps.push_back(std::move(step));
  }
  return sampling;
}

Expected<std::vector<float>> Model::sigmas(const PictureRequest& r,
                                           const JsonConfig& settings) const {
  INTAGLIO_ASSIGN(const JsonConfig config, settings.object("scheduler"));
  INTAGLIO_ASSIGN(const FlowMatchScheduler scheduler, read_flow_match_scheduler(config));
  const int64_t pixels = info_.pixels_per_token;
  return flow_match_sigmas(scheduler, r.steps, r.width / pixels * (r.height / pixels));
}

}  // namespace intaglio::z_image
