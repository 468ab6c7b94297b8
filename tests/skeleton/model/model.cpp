#include "skeleton/model/model.h"

#include "skeleton/model/transformer.h"

namespace intaglio::skeleton_model {

std::vector<Model::PartClasses> Model::part_classes() const {
  return {{"transformer", {"SkeletonTransformer2DModel"}},
          {"text_encoder", {"Qwen3Model"}},
          {"vae", {"AutoencoderKL"}}};
}

Model::ConfigTables Model::config_tables() const {
  return {model_index_keys(), scheduler_keys(), transformer_keys()};
}

Status Model::describe_schedules(bool has_unconditional) {
  // Random weights come with whatever transformers the model has.
  if (has_unconditional && !is_synthetic())
    return make_error(ErrorCode::kUnsupported,
                      "an unconditional transformer was given; Skeleton runs one pass a step");
  info_.branches = "one transformer, one pass a step";
  info_.unguided_reason = "runs one pass a step";
  info_.negative_prompt_refusal = "it is not guided";
  info_.default_steps = 8;
  info_.default_width = info_.default_height = 64;
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

// The features are what the last layer leaves.
Status Model::read_text_encoder(const JsonConfig& config, const JsonConfig&) {
  INTAGLIO_ASSIGN(text_, qwen3::parse_text_encoder_config(config));
  return qwen3::set_taps({text_.layers - 1}, config.where() + "num_hidden_layers", text_);
}

Status Model::set_sizes(std::string_view name) {
  if (name != "skeleton") return make_error(ErrorCode::kNotFound, "{}: no such sizes", name);
  transformer_ = {.layers = 2,
                  .heads = 2,
                  .head_dim = 32,
                  .intermediate = 160,
                  .channels = 16,
                  .text_dim = 64,
                  .rope_theta = 1e4,
                  .norm_eps = 1e-5f};
  text_ = {.layers = 2,
           .heads = 2,
           .kv_heads = 1,
           .head_dim = 32,
           .hidden = 64,
           .intermediate = 128,
           .vocab = 512,
           .rope_theta = 1e4,
           .norm_eps = 1e-6f,
           .taps = {1}};
  vae_.latent_channels = 4;
  vae_.widths = {16, 32};
  vae_.layers_per_block = 1;
  vae_.norm_groups = 4;
  vae_.batch_norm = false;
  return {};
}

Status Model::join_parts(const std::string& where) {
  if (text_.feature_dim() != transformer_.text_dim)
    return make_error(ErrorCode::kBadFormat,
                      "{}: the text encoder gives {} features a token, the transformer reads {} "
                      "(text_dim)",
                      where, text_.feature_dim(), transformer_.text_dim);
  if (vae_.batch_norm)
    return make_error(ErrorCode::kBadFormat,
                      "{}: the VAE is an AutoencoderKLFlux2, the transformer's latents are those "
                      "of an AutoencoderKL",
                      where);
  if (vae_.latent_channels * 4 != transformer_.channels)
    return make_error(ErrorCode::kBadFormat,
                      "{}: the transformer has {} channels a token (in_channels), the VAE packs {} "
                      "(2 x 2 x {})",
                      where, transformer_.channels, vae_.latent_channels * 4, vae_.latent_channels);
  info_.pixels_per_token = 2 * vae_.scale_factor();
  info_.latent_channels = transformer_.channels;
  return {};
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

Expected<Sampling> Model::sampling(const PictureRequest& r) const {
  // Without dynamic shifting the levels do not depend on the picture's size.
  const std::vector<float> sigmas = flow_match_sigmas(scheduler_, r.steps, 0);
  Sampling sampling{.passes = {{.transformer = 0, .text = 0}}};
  for (size_t i = 0; i < static_cast<size_t>(r.steps); ++i)
    sampling.steps.push_back(
        {.time = 1.0f - sigmas[i], .delta = sigmas[i + 1] - sigmas[i], .weights = {1.0f}});
  return sampling;
}

Expected<std::vector<float>> Model::sigmas(const PictureRequest& r,
                                           const JsonConfig& settings) const {
  INTAGLIO_ASSIGN(const JsonConfig config, settings.object("scheduler"));
  INTAGLIO_ASSIGN(const FlowMatchScheduler scheduler, read_flow_match_scheduler(config));
  return flow_match_sigmas(scheduler, r.steps, 0);
}

}  // namespace intaglio::skeleton_model
