// Sizes of an Ideogram 4 transformer, read from the config of the diffusers layout. Nothing here is
// a constant of the engine.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/status.h"
#include "io/json_config.h"
#include "models/qwen3/config.h"

namespace intaglio::ideogram4 {

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

// Layers of the published pipeline whose outputs make the features: 0, 3, ..., 33 and 35.
std::vector<int64_t> published_taps();

// From text_encoder/config.json; the layers that make the features from the
// `text_activation_layers` of model_index.json, which may be null, else the published ones.
Expected<qwen3::TextEncoderConfig> parse_text_config(const JsonConfig& json,
                                                     const JsonConfig* model_index);

}  // namespace intaglio::ideogram4
