#include "models/ideogram4/model.h"

#include <algorithm>
#include <cmath>

#include "models/ideogram4/config_keys.h"
#include "models/ideogram4/presets_data.h"
#include "models/ideogram4/schedule.h"
#include "models/ideogram4/transformer.h"
#include "models/parts/schedules.h"

namespace intaglio::ideogram4 {
namespace {

// Distilled checkpoints are published for 8 steps and for 20; the more the better.
constexpr int64_t kSteps = 48, kDistilledSteps = 20;
constexpr DefaultGuidance kGuidance{.scale = 7.0f, .last_scale = 3.0f, .last_steps = 3};

constexpr int kConditional = 0, kUnconditional = 1;

}  // namespace

Expected<std::vector<Preset>> published_presets() {
  for (const EmbeddedFile& file : data_files()) {
    if (file.name != "presets.json") continue;
    INTAGLIO_ASSIGN(const JsonConfig json, JsonConfig::parse(file.text, "presets.json"));
    INTAGLIO_ASSIGN(const JsonConfig table, json.object("presets"));
    return read_presets(table);
  }
  return make_error(ErrorCode::kInternal, "presets.json is not part of this program");
}

Model::ConfigTables Model::config_tables() const {
  return {model_index_keys(), scheduler_keys(), transformer_keys()};
}

std::vector<Model::PartClasses> Model::part_classes() const {
  return {{"transformer", {"Ideogram4Transformer2DModel"}},
          {"unconditional_transformer", {"Ideogram4Transformer2DModel"}},
          {"text_encoder",
           {"Qwen3VLModel", "Qwen3VLForConditionalGeneration", "Qwen3VLTextModel", "Qwen3Model",
            "Qwen3ForCausalLM"}},
          {"vae", {"AutoencoderKLFlux2"}}};
}

Status Model::describe_schedules(bool has_unconditional) {
  info_.default_steps = has_unconditional ? kSteps : kDistilledSteps;
  info_.default_guidance = kGuidance;
  info_.schedule_is_normal = true;
  info_.negative_prompt_refusal =
      "what it steers away from is its unconditional transformer, which reads no text; guidance "
      "says how far";
  info_.branches = has_unconditional ? "conditional and unconditional transformer"
                                     : "one branch: no unconditional transformer, guidance is 1";
  if (!has_unconditional) {
    info_.unguided_reason = "has no unconditional transformer (it is distilled)";
    info_.default_guidance = {.scale = info_.no_guidance};
  }
  INTAGLIO_ASSIGN(info_.presets, published_presets());
  return {};
}

Status Model::read_scheduler(const JsonConfig& config) {
  INTAGLIO_ASSIGN(info_.shift, config.number_or("shift", 1.0));
  if (info_.shift > 0.0) return {};
  return make_error(ErrorCode::kBadFormat, "{}shift is {}; expected a positive number",
                    config.where(), info_.shift);
}

Status Model::read_transformer(int which, const JsonConfig& config) {
  INTAGLIO_ASSIGN(TransformerConfig read, parse_transformer_config(config));
  if (which == kConditional) {
    conditional_ = read;
  } else {
    unconditional_ = read;
  }
  return {};
}

Status Model::read_text_encoder(const JsonConfig& config, const JsonConfig& index) {
  INTAGLIO_ASSIGN(text_, parse_text_config(config, &index));
  return {};
}

void Model::set_sizes(const ModelSizes& sizes) {
  conditional_ = sizes.conditional;
  unconditional_ = sizes.unconditional;
  text_ = sizes.text;
  vae_ = sizes.vae;
  info_.default_width = info_.default_height = sizes.default_side;
  info_.default_steps = sizes.default_steps;
}

Status Model::set_sizes(std::string_view name) {
  const std::optional<ModelSizes> sizes = model_sizes(name);
  if (!sizes) return make_error(ErrorCode::kNotFound, "{}: no such sizes", name);
  INTAGLIO_TRY(describe_schedules(sizes->unconditional.has_value()));
  set_sizes(*sizes);
  return {};
}

void Model::set_layers(int64_t layers) {
  conditional_.layers = layers;
  if (unconditional_) unconditional_->layers = layers;
}

Status Model::join_parts(const std::string& where) {
  if (text_.feature_dim() != conditional_.text_dim) {
    return make_error(ErrorCode::kBadFormat,
                      "{}: the text encoder gives {} features a token ({} channels x {} taps), the "
                      "transformer reads {} (llm_features_dim)",
                      where, text_.feature_dim(), text_.hidden, text_.taps.size(),
                      conditional_.text_dim);
  }
  INTAGLIO_TRY(join_latents(where, autoencoder::kFlux2Class, conditional_.channels));
  if (unconditional_ && unconditional_->channels != conditional_.channels) {
    return make_error(ErrorCode::kBadFormat,
                      "{}: the transformer has {} channels a token, the unconditional one {} "
                      "(in_channels)",
                      where, conditional_.channels, unconditional_->channels);
  }
  return {};
}

std::unique_ptr<intaglio::Transformer> Model::make_transformer(int which,
                                                               TransformerOptions options) const {
  return std::make_unique<Transformer>(which == kConditional ? conditional_ : *unconditional_,
                                       std::move(options), which == kConditional);
}

Expected<std::unique_ptr<intaglio::Transformer>> Model::transformer_of(
    int which, const JsonConfig& config, TransformerOptions options) const {
  INTAGLIO_ASSIGN(const TransformerConfig read, parse_transformer_config(config));
  return std::make_unique<Transformer>(read, std::move(options), which == kConditional);
}

// velocity = g * conditional + (1 - g) * unconditional
Expected<Sampling> Model::sampling(const PictureRequest& r) const {
  if (!std::isfinite(r.mu) || !std::isfinite(r.std) || r.std <= 0.0) {
    return make_error(ErrorCode::kInvalidArgument,
                      "mu {}, std {}: expected a finite and a positive number", r.mu, r.std);
  }
  const std::vector<float> sigmas = shifted_sigmas(
      schedule_sigmas(
          {.width = r.width, .height = r.height, .steps = r.steps, .mu = r.mu, .std = r.std}),
      info_.shift);
  Sampling sampling{.passes = {{.transformer = kConditional, .text = 0}}};
  const bool guided = std::any_of(r.guidance.begin(), r.guidance.end(),
                                  [&](float g) { return g != info_.no_guidance; });
  if (guided) sampling.passes.push_back({.transformer = kUnconditional});
  for (size_t i = 0; i < static_cast<size_t>(r.steps); ++i) {
    const float g = r.guidance[i];
    SamplingStep step{.time = 1.0f - sigmas[i], .delta = sigmas[i + 1] - sigmas[i]};
    step.weights.push_back(g);
    if (guided) step.weights.push_back(1.0f - g);
    sampling.steps.push_back(std::move(step));
  }
  return sampling;
}

Expected<std::vector<float>> Model::sigmas(const PictureRequest& r,
                                           const JsonConfig& settings) const {
  INTAGLIO_ASSIGN(const double mu, settings.number("mu"));
  INTAGLIO_ASSIGN(const double std, settings.number("std"));
  return schedule_sigmas(
      {.width = r.width, .height = r.height, .steps = r.steps, .mu = mu, .std = std});
}

}  // namespace intaglio::ideogram4
