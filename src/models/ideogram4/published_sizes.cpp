#include "models/ideogram4/published_sizes.h"

namespace intaglio {

TransformerConfig ideogram4_transformer_config() {
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

TextEncoderConfig ideogram4_text_config() {
  TextEncoderConfig config;
  config.layers = 36;
  config.heads = 32;
  config.kv_heads = 8;
  config.head_dim = 128;
  config.hidden = 4096;
  config.intermediate = 12288;
  config.vocab = 151936;
  config.rope_theta = 5e6;
  config.norm_eps = 1e-6f;
  for (int64_t layer = 0; layer <= 33; layer += 3) config.taps.push_back(layer);
  config.taps.push_back(35);
  return config;
}

Flux2VaeConfig ideogram4_vae_config() {
  Flux2VaeConfig config;
  config.latent_channels = 32;
  config.widths = {128, 256, 512, 512};
  config.layers_per_block = 2;
  config.norm_groups = 32;
  config.batch_norm_eps = 1e-4;
  return config;
}

}  // namespace intaglio
