#include "models/krea2/config_keys.h"

namespace intaglio::krea2 {

using enum KeyRole;

const ConfigTable& model_index_keys() {
  static const ConfigTable table = pipeline_keys(
      R"(["Krea2Pipeline"])",
      {{"is_distilled"}, {"patch_size", kOnly, "[2]"}, {"text_encoder_select_layers"}});
  return table;
}

const ConfigTable& transformer_keys() {
  static const ConfigTable table =
      with_notes({{"_class_name", kOnly, R"(["Krea2Transformer2DModel"])"},
                  {"num_layers"},
                  {"num_attention_heads"},
                  {"num_key_value_heads"},
                  {"attention_head_dim"},
                  {"intermediate_size"},
                  {"in_channels"},
                  {"num_text_layers"},
                  {"text_hidden_dim"},
                  {"text_num_attention_heads"},
                  {"text_num_key_value_heads"},
                  {"text_intermediate_size"},
                  {"num_layerwise_text_blocks"},
                  {"num_refiner_text_blocks"},
                  {"timestep_embed_dim"},
                  {"axes_dims_rope"},
                  {"rope_theta"},
                  {"norm_eps"},
                  {"sample_size", kHarmless},
                  {"gradient_checkpointing", kHarmless}});
  return table;
}

}  // namespace intaglio::krea2
