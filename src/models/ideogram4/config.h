// Sizes of an Ideogram 4 model, read from the configs of the diffusers layout. Nothing here is a constant of the engine.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/status.h"
#include "io/json_config.h"

namespace intaglio {

struct TransformerConfig {
  int64_t layers = 0, heads = 0, head_dim = 0;
  int64_t intermediate = 0;                // width of the feed-forward
  int64_t adaln_dim = 0;                   // width of the AdaLN input
  int64_t channels = 0;                    // latent channels of a token
  int64_t text_dim = 0;                    // width of the text features
  std::array<int64_t, 3> mrope_section{};  // (t, h, w)
  double rope_theta = 0.0;
  float norm_eps = 0.0f;

  int64_t width() const { return heads * head_dim; }
};

// From transformer/config.json.
Expected<TransformerConfig> parse_transformer_config(const JsonConfig& json);

struct TextEncoderConfig {
  int64_t layers = 0, heads = 0, kv_heads = 0, head_dim = 0;
  int64_t hidden = 0, intermediate = 0, vocab = 0;
  double rope_theta = 0.0;
  float norm_eps = 0.0f;
  std::vector<int64_t> taps;  // layers whose outputs make the text features, ascending

  int64_t feature_dim() const { return hidden * static_cast<int64_t>(taps.size()); }
};

// From text_encoder/config.json (its `text_config`, or the file itself) and, for the taps, model_index.json's `text_activation_layers`.
Expected<TextEncoderConfig> parse_text_encoder_config(const JsonConfig& json,
                                                      const JsonConfig* model_index);

}  // namespace intaglio
