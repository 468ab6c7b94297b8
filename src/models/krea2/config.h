// Sizes of a Krea 2 transformer, read from the config of the diffusers layout.
#pragma once

#include <array>
#include <cstdint>

#include "core/status.h"
#include "io/json_config.h"
#include "models/krea2/block.h"

namespace intaglio::krea2 {

struct TransformerConfig {
  int64_t layers = 0;
  BlockShape block;       // of the layers
  BlockShape text_block;  // of the text stage
  // Blocks over the states of a token, and over the tokens.
  int64_t layerwise_blocks = 0, refiner_blocks = 0;
  int64_t taps = 0;               // states of the text encoder that are a token's features
  int64_t channels = 0;           // latent channels of a token
  int64_t time_frequencies = 0;   // of the embedding of the step's time, both parts
  std::array<int64_t, 3> axes{};  // channels of a head that turn with each axis of a position
  double rope_theta = 0.0;

  int64_t width() const { return block.width(); }
  int64_t text_dim() const { return taps * text_block.width(); }
};

// From transformer/config.json.
Expected<TransformerConfig> parse_transformer_config(const JsonConfig& json);

// Of the published models, which have one architecture.
TransformerConfig published_config();

}  // namespace intaglio::krea2
