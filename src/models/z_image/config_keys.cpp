#include "models/z_image/config_keys.h"

namespace intaglio::z_image {

using enum KeyRole;

const ConfigTable& model_index_keys() {
  static const ConfigTable table = pipeline_keys(R"(["ZImagePipeline"])");
  return table;
}

// axes_lens bounds positions of tables that the published code makes beforehand.
const ConfigTable& transformer_keys() {
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

}  // namespace intaglio::z_image
