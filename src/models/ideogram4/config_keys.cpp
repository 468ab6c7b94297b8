#include "models/ideogram4/config_keys.h"

namespace intaglio::ideogram4 {

using enum KeyRole;

const ConfigTable& model_index_keys() {
  static const ConfigTable table =
      pipeline_keys(R"(["Ideogram4Pipeline"])", {{"unconditional_transformer"},
                                                 {"text_activation_layers"},
                                                 {"prompt_enhancer_head", kHarmless},
                                                 {"processor", kHarmless},
                                                 {"image_processor", kHarmless},
                                                 {"safety_checker", kHarmless},
                                                 {"feature_extractor", kHarmless},
                                                 {"requires_safety_checker", kHarmless}});
  return table;
}

// FlowMatchEulerDiscreteScheduler. The pipeline gives it its own sigmas; without dynamic shifting
// the constants of that are unused.
const ConfigTable& scheduler_keys() {
  constexpr std::string_view kOwnSigmas = "the noise levels are the pipeline's own";
  static const ConfigTable table =
      with_notes({{"_class_name", kOnly, R"(["FlowMatchEulerDiscreteScheduler"])"},
                  {"shift"},
                  {"use_dynamic_shifting", kOnly, kFalse, "the published pipeline gives it no mu"},
                  {"shift_terminal", kOnly, "[0]", kOwnSigmas},
                  {"invert_sigmas", kOnly, kFalse, kOwnSigmas},
                  {"use_karras_sigmas", kOnly, kFalse, kOwnSigmas},
                  {"use_exponential_sigmas", kOnly, kFalse, kOwnSigmas},
                  {"use_beta_sigmas", kOnly, kFalse, kOwnSigmas},
                  {"stochastic_sampling", kOnly, kFalse, "steps are Euler's"},
                  {"time_shift_type", kOnly, R"(["exponential", "linear"])"},
                  {"prediction_type", kOnly, R"(["flow", "flow_prediction", "velocity"])"},
                  {"base_shift", kHarmless},
                  {"max_shift", kHarmless},
                  {"base_image_seq_len", kHarmless},
                  {"max_image_seq_len", kHarmless},
                  {"num_train_timesteps", kHarmless}});
  return table;
}

const ConfigTable& transformer_keys() {
  static const ConfigTable table =
      with_notes({{"_class_name", kOnly, R"(["Ideogram4Transformer2DModel"])"},
                  {"num_layers"},
                  {"num_attention_heads"},
                  {"attention_head_dim"},
                  {"intermediate_size"},
                  {"adaln_dim"},
                  {"in_channels"},
                  {"out_channels"},
                  {"llm_features_dim"},
                  {"rope_theta"},
                  {"mrope_section"},
                  {"norm_eps"},
                  {"hidden_act", kOnly, kSilu},
                  {"act_fn", kOnly, kSilu},
                  {"activation_fn", kOnly, R"(["silu", "swish", "swiglu"])"},
                  {"norm_type", kOnly, R"(["rms_norm", "rmsnorm"])"},
                  {"qk_norm", kOnly, R"([true, "rms_norm"])"},
                  {"attention_bias", kOnly, kFalse},
                  {"use_bias", kOnly, kFalse},
                  {"rope_scaling", kOnly, kNull},
                  {"rope_parameters", kOnly, kNull},
                  {"partial_rotary_factor", kOnly, "[1]"},
                  {"patch_size", kOnly, "[1, [1, 1]]"},
                  {"guidance_embeds", kOnly, kFalse},
                  {"num_key_value_heads", kOnly, kNull, "every head has keys of its own"},
                  {"sliding_window", kOnly, kNull},
                  {"sample_size", kHarmless},
                  {"gradient_checkpointing", kHarmless}});
  return table;
}

}  // namespace intaglio::ideogram4
