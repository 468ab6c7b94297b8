// Sizes of a Z-Image transformer, read from the config of the diffusers layout.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "core/status.h"
#include "io/json_config.h"
#include "models/parts/gated_block.h"

namespace intaglio::z_image {

struct TransformerConfig {
  int64_t layers = 0;
  int64_t refiners = 0;  // blocks of the noise refiner, and of the context refiner
  int64_t heads = 0, width = 0;
  int64_t channels = 0;           // latent channels of a token
  int64_t text_dim = 0;           // width of the text features
  std::array<int64_t, 3> axes{};  // channels of a head that turn with each axis of a position
  double rope_theta = 0.0;
  float norm_eps = 0.0f;
  double time_scale = 0.0;  // of the model's time before its embedding

  int64_t head_dim() const { return width / heads; }
  int64_t intermediate() const { return width * 8 / 3; }
  int64_t adaln_dim() const { return std::min<int64_t>(width, 256); }
  GatedBlockSizes block() const;
};

// From transformer/config.json.
Expected<TransformerConfig> parse_transformer_config(const JsonConfig& json);

// Of the published models, which have one architecture.
TransformerConfig published_config();

}  // namespace intaglio::z_image
