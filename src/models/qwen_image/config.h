// Sizes of a Qwen-Image transformer, read from the config of the diffusers layout.
#pragma once

#include <array>
#include <cstdint>

#include "core/status.h"
#include "io/json_config.h"
#include "models/parts/double_block.h"

namespace intaglio::qwen_image {

struct TransformerConfig {
  int64_t layers = 0;
  int64_t heads = 0, head_dim = 0;
  int64_t channels = 0;           // latent channels of a token
  int64_t text_dim = 0;           // width of the text features
  std::array<int64_t, 3> axes{};  // channels of a head that turn with each axis of a position

  int64_t width() const { return heads * head_dim; }
  DoubleBlockSizes block() const;
};

// From transformer/config.json.
Expected<TransformerConfig> parse_transformer_config(const JsonConfig& json);

// Of the published models, which have one architecture.
TransformerConfig published_config();

}  // namespace intaglio::qwen_image
