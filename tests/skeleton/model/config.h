// The skeleton of a model, walked through by docs/adding-a-model.md: sizes of its transformer, and
// every key of its configs. In the engine this would be src/models/skeleton/config.h.
#pragma once

#include <cstdint>

#include "core/status.h"
#include "io/json_config.h"
#include "models/parts/config_notes.h"
#include "models/parts/gated_block.h"

namespace intaglio::skeleton_model {

struct TransformerConfig {
  int64_t layers = 0, heads = 0, head_dim = 0;
  int64_t intermediate = 0;  // width of the feed-forward
  int64_t channels = 0;      // latent channels of a token
  int64_t text_dim = 0;      // width of the text features
  double rope_theta = 0.0;
  float norm_eps = 0.0f;

  int64_t width() const { return heads * head_dim; }
  GatedBlockSizes block() const;
};

// From transformer/config.json.
Expected<TransformerConfig> parse_transformer_config(const JsonConfig& json);

const ConfigTable& model_index_keys();
const ConfigTable& scheduler_keys();
const ConfigTable& transformer_keys();

}  // namespace intaglio::skeleton_model
