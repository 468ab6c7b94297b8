#include "models/ideogram4/config_keys.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/escape.h"
#include "io/printable.h"
#include "models/autoencoder/config_keys.h"
#include "models/parts/config_notes.h"
#include "models/qwen3/config_keys.h"

namespace intaglio::ideogram4 {
namespace {

using enum KeyRole;

const ConfigTable& model_index_table() {
  static const ConfigTable table = with_notes({{"_class_name", kOnly, R"(["Ideogram4Pipeline"])"},
                                               {"transformer"},
                                               {"unconditional_transformer"},
                                               {"text_encoder"},
                                               {"tokenizer"},
                                               {"vae"},
                                               {"scheduler"},
                                               {"text_activation_layers"},
                                               {"intaglio"},
                                               {"presets"},
                                               {"prompt_enhancer_head", kHarmless},
                                               {"processor", kHarmless},
                                               {"image_processor", kHarmless},
                                               {"safety_checker", kHarmless},
                                               {"feature_extractor", kHarmless},
                                               {"requires_safety_checker", kHarmless}});
  return table;
}

// FlowMatchEulerDiscreteScheduler. The pipeline gives it its own sigmas; without dynamic shifting the constants of that are unused.
const ConfigTable& scheduler_table() {
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

const ConfigTable& transformer_table() {
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

const ConfigTable& own_defaults_table() {
  static const ConfigTable table{
      {"default_steps"}, {"default_guidance"}, {"default_mu"}, {"default_std"}, {"default_size"}};
  return table;
}

const ConfigTable& preset_table() {
  static const ConfigTable table{{"steps"}, {"mu"}, {"std"}, {"guidance"}};
  return table;
}

Expected<std::vector<KeyedConfig>> keyed_model_index(const JsonConfig& config) {
  std::vector<KeyedConfig> parts{{config, model_index_table()}};
  if (config.contains("intaglio")) {
    INTAGLIO_ASSIGN(const JsonConfig own, config.object("intaglio"));
    parts.push_back({own, own_defaults_table(), "intaglio."});
  }
  if (!config.contains("presets")) return parts;
  INTAGLIO_ASSIGN(const JsonConfig presets, config.object("presets"));
  for (const auto& [name, value] : presets.json().items()) {
    INTAGLIO_ASSIGN(const JsonConfig preset, presets.object(name));
    parts.push_back({preset, preset_table(), fmt::format("presets.{}.", printable(name, 60))});
  }
  return parts;
}

Expected<std::vector<KeyedConfig>> keyed_config(ConfigKind kind, const JsonConfig& config) {
  switch (kind) {
    case ConfigKind::kModelIndex:
      return keyed_model_index(config);
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

// Classes of the parts of a pipeline, by what they compute.
struct PartClass {
  const char* part;
  std::vector<std::string_view> classes;
};

Status check_part_classes(const JsonConfig& index) {
  static const std::vector<PartClass> parts{
      {"transformer", {"Ideogram4Transformer2DModel"}},
      {"unconditional_transformer", {"Ideogram4Transformer2DModel"}},
      {"text_encoder",
       {"Qwen3VLModel", "Qwen3VLForConditionalGeneration", "Qwen3VLTextModel", "Qwen3Model",
        "Qwen3ForCausalLM"}},
      {"vae", {"AutoencoderKLFlux2"}},
      {"scheduler", {"FlowMatchEulerDiscreteScheduler"}},
      {"tokenizer",
       {"TokenizersBackend", "Qwen2Tokenizer", "Qwen2TokenizerFast", "PreTrainedTokenizerFast"}}};
  std::vector<std::string> problems;
  for (const PartClass& part : parts) {
    if (!index.contains(part.part)) continue;
    const nlohmann::json& value = index.json().at(part.part);
    const bool is_pair = value.is_array() && value.size() == 2;
    if (is_pair && value.at(1).is_null()) continue;  // a part this model does without
    const std::string name =
        is_pair && value.at(1).is_string() ? value.at(1).get<std::string>() : std::string();
    if (std::find(part.classes.begin(), part.classes.end(), name) != part.classes.end()) continue;
    problems.push_back(fmt::format("{}{}: found {}, supported is {}", index.where(), part.part,
                                   name.empty() ? "no [library, class]" : printable(name, 60),
                                   fmt::join(part.classes, " or ")));
  }
  if (problems.empty()) return {};
  return make_error(ErrorCode::kUnsupported, "{}",
                    OwnLines{fmt::format("{}", fmt::join(problems, "\n  "))});
}

}  // namespace

Status check_known_keys(ConfigKind kind, const JsonConfig& config) {
  if (kind == ConfigKind::kModelIndex) INTAGLIO_TRY(check_part_classes(config));
  INTAGLIO_ASSIGN(const std::vector<KeyedConfig> keyed, keyed_config(kind, config));
  return check_config_keys(keyed);
}

UnknownKeys unknown_keys(ConfigKind kind, const JsonConfig& config) {
  const Expected<std::vector<KeyedConfig>> keyed = keyed_config(kind, config);
  return keyed ? unknown_config_keys(*keyed) : UnknownKeys();
}

}  // namespace intaglio::ideogram4
