#include "models/ideogram4/model_sizes.h"

namespace intaglio::ideogram4 {
namespace {

ModelSizes ideogram4_sizes() {
  return {.conditional = transformer_config(),
          .unconditional = transformer_config(),
          .text = text_config(),
          .vae = autoencoder::flux2_config(),
          .default_side = 1024,
          .default_steps = 48};
}

// fal/ideogram-v4-instant: one branch, distilled to eight steps.
ModelSizes instant_sizes() {
  ModelSizes sizes = ideogram4_sizes();
  sizes.unconditional.reset();
  sizes.default_steps = 8;
  return sizes;
}

// models/mini, whose configs a test compares.
ModelSizes mini_sizes() {
  ModelSizes sizes;
  TransformerConfig& c = sizes.conditional;
  c.layers = 8;
  c.heads = 6;
  c.head_dim = 64;
  c.intermediate = 1024;
  c.adaln_dim = 64;
  c.channels = 64;
  c.text_dim = 768;
  c.mrope_section = {12, 10, 10};
  c.rope_theta = 1000.0;
  c.norm_eps = 1e-5f;
  TransformerConfig& u = sizes.unconditional.emplace(c);
  u.layers = 4;
  u.heads = 4;
  u.intermediate = 512;
  u.text_dim = 16;
  qwen3::TextEncoderConfig& t = sizes.text;
  t.layers = 4;
  t.heads = 4;
  t.kv_heads = 2;
  t.head_dim = 64;
  t.hidden = 192;
  t.intermediate = 512;
  t.vocab = 2440;
  t.rope_theta = 1e4;
  t.norm_eps = 1e-6f;
  t.taps = {0, 1, 2, 3};
  sizes.vae.latent_channels = 16;
  sizes.vae.widths = {32, 64, 128, 128};
  sizes.vae.layers_per_block = 1;
  sizes.vae.norm_groups = 16;
  sizes.vae.batch_norm_eps = 1e-4;
  sizes.default_side = 256;
  sizes.default_steps = 24;
  return sizes;
}

}  // namespace

TransformerConfig transformer_config() {
  TransformerConfig config;
  config.layers = 34;
  config.heads = 18;
  config.head_dim = 256;
  config.intermediate = 12288;
  config.adaln_dim = 512;
  config.channels = 128;
  config.text_dim = 53248;
  config.mrope_section = {24, 20, 20};
  config.rope_theta = 5e6;
  config.norm_eps = 1e-5f;
  return config;
}

qwen3::TextEncoderConfig text_config() {
  qwen3::TextEncoderConfig config = qwen3::qwen3_8b();
  config.rope_theta = 5e6;
  config.taps = published_taps();
  return config;
}

std::optional<ModelSizes> model_sizes(std::string_view name) {
  if (name == "ideogram4") return ideogram4_sizes();
  if (name == "ideogram4-instant") return instant_sizes();
  if (name == "mini") return mini_sizes();
  return std::nullopt;
}

}  // namespace intaglio::ideogram4
