#include "skeleton/model/config.h"

#include "models/parts/config_values.h"

namespace intaglio::skeleton_model {

using enum KeyRole;

const ConfigTable& model_index_keys() {
  static const ConfigTable table = pipeline_keys(R"(["SkeletonPipeline"])");
  return table;
}

const ConfigTable& scheduler_keys() {
  static const ConfigTable table =
      with_notes({{"_class_name", kOnly, R"(["FlowMatchEulerDiscreteScheduler"])"},
                  {"shift"},
                  {"use_dynamic_shifting", kOnly, kFalse, "all sizes have one shift"},
                  {"shift_terminal", kOnly, kNull},
                  {"num_train_timesteps", kHarmless}});
  return table;
}

const ConfigTable& transformer_keys() {
  static const ConfigTable table =
      with_notes({{"_class_name", kOnly, R"(["SkeletonTransformer2DModel"])"},
                  {"num_layers"},
                  {"num_attention_heads"},
                  {"attention_head_dim"},
                  {"ffn_dim"},
                  {"in_channels"},
                  {"text_dim"},
                  {"rope_theta"},
                  {"norm_eps"},
                  {"activation", kOnly, kSilu},
                  {"sample_size", kHarmless}});
  return table;
}

GatedBlockSizes TransformerConfig::block() const {
  return {.heads = heads,
          .head_dim = head_dim,
          .intermediate = intermediate,
          .norm_eps = norm_eps,
          .qk_norm_eps = norm_eps};
}

Expected<TransformerConfig> parse_transformer_config(const JsonConfig& json) {
  const KeyedConfig keyed{json, transformer_keys()};
  INTAGLIO_TRY(check_config_keys({&keyed, 1}));
  TransformerConfig config;
  INTAGLIO_ASSIGN(config.layers, json.integer("num_layers", 1, kMaxLayers));
  INTAGLIO_ASSIGN(config.heads, json.integer("num_attention_heads", 1, kMaxWidth));
  INTAGLIO_ASSIGN(config.head_dim, json.integer("attention_head_dim", 4, 1024));
  INTAGLIO_ASSIGN(config.intermediate, json.integer("ffn_dim", 1, kMaxWidth));
  INTAGLIO_ASSIGN(config.channels, json.integer("in_channels", 1, kMaxWidth));
  INTAGLIO_ASSIGN(config.text_dim, json.integer("text_dim", 1, kMaxWidth));
  INTAGLIO_ASSIGN(config.rope_theta, read_theta(json));
  INTAGLIO_ASSIGN(config.norm_eps, read_eps(json, "norm_eps", 1e-5));
  // Two axes turn half a head each, in pairs of channels.
  if (config.head_dim % 4 != 0)
    return make_error(ErrorCode::kBadFormat,
                      "{}attention_head_dim: expected a multiple of 4, found {}", json.where(),
                      config.head_dim);
  return config;
}

}  // namespace intaglio::skeleton_model
