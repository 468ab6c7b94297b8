#include "models/qwen_image/config_keys.h"

namespace intaglio::qwen_image {

using enum KeyRole;

const ConfigTable& model_index_keys() {
  static const ConfigTable table = pipeline_keys(R"(["QwenImagePipeline"])");
  return table;
}

const ConfigTable& transformer_keys() {
  constexpr std::string_view kOther = "another member of the family has it (Edit or Layered)";
  static const ConfigTable table =
      with_notes({{"_class_name", kOnly, R"(["QwenImageTransformer2DModel"])"},
                  {"num_layers"},
                  {"num_attention_heads"},
                  {"attention_head_dim"},
                  {"in_channels"},
                  {"out_channels"},
                  {"joint_attention_dim"},
                  {"axes_dims_rope"},
                  {"patch_size", kOnly, "[2]"},
                  {"guidance_embeds", kOnly, kFalse, "guidance is a second pass"},
                  {"zero_cond_t", kOnly, kFalse, kOther},
                  {"use_additional_t_cond", kOnly, kFalse, kOther},
                  {"use_layer3d_rope", kOnly, kFalse, kOther},
                  {"pooled_projection_dim", kHarmless},
                  {"sample_size", kHarmless},
                  {"gradient_checkpointing", kHarmless}});
  return table;
}

}  // namespace intaglio::qwen_image
