// Sizes of a FLUX.2 klein transformer, read from the config of the diffusers layout.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "core/status.h"
#include "io/json_config.h"
#include "models/flux2_klein/single_block.h"
#include "models/parts/double_block.h"

namespace intaglio::flux2_klein {

struct TransformerConfig {
  int64_t layers = 0;         // of two streams
  int64_t single_layers = 0;  // behind them
  int64_t heads = 0, head_dim = 0;
  int64_t channels = 0;  // latent channels of a token
  int64_t text_dim = 0;  // width of the text features
  double mlp_ratio = 0.0;
  int64_t time_frequencies = 0;   // values of a time's embedding
  std::array<int64_t, 4> axes{};  // channels of a head that turn with each axis of a position
  double rope_theta = 0.0;
  float eps = 0.0f;  // of all norms

  int64_t width() const { return heads * head_dim; }
  int64_t intermediate() const;
  DoubleBlockSizes double_block() const;
  SingleBlockSizes single_block() const;
};

// From transformer/config.json.
Expected<TransformerConfig> parse_transformer_config(const JsonConfig& json);

// Of the published models: the 4B one, or the 9B one.
TransformerConfig published_config(bool large);

}  // namespace intaglio::flux2_klein
