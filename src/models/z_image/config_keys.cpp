#include "models/z_image/config_keys.h"

#include "models/autoencoder/config_keys.h"
#include "models/qwen3/config_keys.h"

namespace intaglio::z_image {
namespace {

using enum KeyRole;

const ConfigTable& model_index_table() {
  static const ConfigTable table = with_notes({{"_class_name", kOnly, R"(["ZImagePipeline"])"},
                                               {"transformer"},
                                               {"text_encoder"},
                                               {"tokenizer"},
                                               {"vae"},
                                               {"scheduler"},
                                               {"intaglio"},
                                               {"presets"}});
  return table;
}

const ConfigTable& scheduler_table() {
  constexpr std::string_view kPlain = "noise levels are those of the shift";
  static const ConfigTable table =
      with_notes({{"_class_name", kOnly, R"(["FlowMatchEulerDiscreteScheduler"])"},
                  {"shift"},
                  {"use_dynamic_shifting"},
                  {"base_shift"},
                  {"max_shift"},
                  {"base_image_seq_len"},
                  {"max_image_seq_len"},
                  {"time_shift_type"},
                  {"shift_terminal"},
                  {"invert_sigmas", kOnly, kFalse, kPlain},
                  {"use_karras_sigmas", kOnly, kFalse, kPlain},
                  {"use_exponential_sigmas", kOnly, kFalse, kPlain},
                  {"use_beta_sigmas", kOnly, kFalse, kPlain},
                  {"stochastic_sampling", kOnly, kFalse, "steps are Euler's"},
                  {"num_train_timesteps", kHarmless}});
  return table;
}

// axes_lens bounds positions of tables that the published code makes beforehand.
const ConfigTable& transformer_table() {
  static const ConfigTable table =
      with_notes({{"_class_name", kOnly, R"(["ZImageTransformer2DModel"])"},
                  {"n_layers"},
                  {"n_refiner_layers"},
                  {"n_heads"},
                  {"dim"},
                  {"in_channels"},
                  {"cap_feat_dim"},
                  {"axes_dims"},
                  {"rope_theta"},
                  {"norm_eps"},
                  {"t_scale"},
                  {"all_patch_size"},
                  {"all_f_patch_size"},
                  {"qk_norm", kOnly, kTrue},
                  {"siglip_feat_dim", kOnly, kNull, "pictures in the prompt are not read"},
                  {"n_kv_heads", kHarmless},
                  {"axes_lens", kHarmless},
                  {"sample_size", kHarmless},
                  {"gradient_checkpointing", kHarmless}});
  return table;
}

}  // namespace

Expected<std::vector<KeyedConfig>> keyed_config(ConfigKind kind, const JsonConfig& config) {
  switch (kind) {
    case ConfigKind::kModelIndex:
      return keyed_model_index(config, model_index_table());
    case ConfigKind::kScheduler:
      return std::vector<KeyedConfig>{{config, scheduler_table()}};
    case ConfigKind::kTransformer:
      return std::vector<KeyedConfig>{{config, transformer_table()}};
    case ConfigKind::kTextEncoder:
      return qwen3::keyed_text_config(config);
    case ConfigKind::kVae:
      return autoencoder::keyed_config(config);
    case ConfigKind::kTokenizer:
      return qwen3::keyed_tokenizer_config(config);
  }
  return std::vector<KeyedConfig>();
}

}  // namespace intaglio::z_image
