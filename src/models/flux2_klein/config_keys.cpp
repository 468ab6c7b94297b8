#include "models/flux2_klein/config_keys.h"

namespace intaglio::flux2_klein {

using enum KeyRole;

const ConfigTable& model_index_keys() {
  static const ConfigTable table = pipeline_keys(R"(["Flux2KleinPipeline"])", {{"is_distilled"}});
  return table;
}

const ConfigTable& transformer_keys() {
  static const ConfigTable table = with_notes(
      {{"_class_name", kOnly, R"(["Flux2Transformer2DModel"])"},
       {"num_layers"},
       {"num_single_layers"},
       {"num_attention_heads"},
       {"attention_head_dim"},
       {"in_channels"},
       {"out_channels"},
       {"joint_attention_dim"},
       {"mlp_ratio"},
       {"timestep_guidance_channels"},
       {"axes_dims_rope"},
       {"rope_theta"},
       {"eps"},
       {"patch_size", kOnly, "[1]", "latents come packed"},
       {"guidance_embeds", kOnly, kFalse,
        "klein has no guidance embedder; with one it is another FLUX.2, as FLUX.2-dev is"},
       {"sample_size", kHarmless},
       {"gradient_checkpointing", kHarmless}});
  return table;
}

}  // namespace intaglio::flux2_klein
