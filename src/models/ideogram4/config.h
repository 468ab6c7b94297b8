// Sizes of an Ideogram 4 transformer, read from the config of the diffusers layout. Nothing here is a constant of the engine.
#pragma once

#include <array>
#include <cstdint>

#include "core/status.h"
#include "io/json_config.h"

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

}  // namespace intaglio::ideogram4
