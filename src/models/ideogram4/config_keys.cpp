#include "models/ideogram4/config_keys.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "core/escape.h"
#include "io/printable.h"

namespace intaglio {
namespace {

using enum KeyRole;
using Table = std::vector<ConfigKey>;

constexpr std::string_view kFalse = "[false]";
constexpr std::string_view kTrue = "[true]";
constexpr std::string_view kNull = "[]";
constexpr std::string_view kSilu = R"(["silu", "swish"])";
constexpr std::string_view kTokenizerClasses =
    R"(["TokenizersBackend", "Qwen2Tokenizer", "Qwen2TokenizerFast", "PreTrainedTokenizerFast"])";
constexpr std::string_view kQuantized =
    "weights quantized by another program are not read; take a checkpoint in bf16, fp16 or fp32 "
    "(int8, nf4 and fp8 are made at loading)";

// What writers of configs note down beside the settings.
const Table& notes() {
  static const Table table{{"_diffusers_version", kHarmless},
                           {"_name_or_path", kHarmless},
                           {"_commit_hash", kHarmless},
                           {"dtype", kHarmless},
                           {"torch_dtype", kHarmless},
                           {"transformers_version", kHarmless},
                           {"quantization_config", kOnly, kNull, kQuantized},
                           {"quantization", kOnly, kNull, kQuantized},
                           {"ideogram_fp8_weight_only", kOnly, kFalse, kQuantized}};
  return table;
}

Table with_notes(Table table) {
  table.insert(table.end(), notes().begin(), notes().end());
  return table;
}

const Table& model_index_table() {
  static const Table table = with_notes({{"_class_name", kOnly, R"(["Ideogram4Pipeline"])"},
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
const Table& scheduler_table() {
  constexpr std::string_view kOwnSigmas = "the noise levels are the pipeline's own";
  static const Table table =
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

const Table& transformer_table() {
  static const Table table =
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

// Defaults of generating text that older configs repeat, and ids.
const Table& generation_keys() {
  static const Table table = [] {
    Table keys;
    for (const std::string_view name : {"add_cross_attention",
                                        "_class_name",
                                        "attention_dropout",
                                        "bad_words_ids",
                                        "begin_suppress_tokens",
                                        "bos_token_id",
                                        "chunk_size_feed_forward",
                                        "cross_attention_hidden_size",
                                        "decoder_start_token_id",
                                        "diversity_penalty",
                                        "do_sample",
                                        "early_stopping",
                                        "encoder_no_repeat_ngram_size",
                                        "eos_token_id",
                                        "exponential_decay_length_penalty",
                                        "finetuning_task",
                                        "forced_bos_token_id",
                                        "forced_eos_token_id",
                                        "id2label",
                                        "image_token_id",
                                        "initializer_range",
                                        "is_decoder",
                                        "is_encoder_decoder",
                                        "label2id",
                                        "length_penalty",
                                        "max_length",
                                        "max_position_embeddings",
                                        "max_window_layers",
                                        "min_length",
                                        "no_repeat_ngram_size",
                                        "num_beam_groups",
                                        "num_beams",
                                        "num_return_sequences",
                                        "output_attentions",
                                        "output_hidden_states",
                                        "output_scores",
                                        "pad_token_id",
                                        "prefix",
                                        "problem_type",
                                        "pruned_heads",
                                        "remove_invalid_values",
                                        "repetition_penalty",
                                        "return_dict",
                                        "return_dict_in_generate",
                                        "sep_token_id",
                                        "suppress_tokens",
                                        "task_specific_params",
                                        "temperature",
                                        "tf_legacy_loss",
                                        "tie_encoder_decoder",
                                        "tie_word_embeddings",
                                        "tokenizer_class",
                                        "top_k",
                                        "top_p",
                                        "torchscript",
                                        "typical_p",
                                        "use_bfloat16",
                                        "use_cache",
                                        "video_token_id",
                                        "vision_end_token_id",
                                        "vision_start_token_id"})
      keys.push_back({name, kHarmless});
    return keys;
  }();
  return table;
}

// Without pictures in the prompt Qwen3-VL's language model computes what Qwen3 does.
constexpr std::string_view kTextClasses =
    R"([["Qwen3VLModel"], ["Qwen3VLForConditionalGeneration"], ["Qwen3VLTextModel"], ["Qwen3Model"], ["Qwen3ForCausalLM"]])";
constexpr std::string_view kTextTypes = R"(["qwen3_vl", "qwen3_vl_text", "qwen3"])";

// Qwen3-VL's language model. Its head is not run, so whether that is tied to the embeddings is the same.
const Table& text_table() {
  static const Table table = [] {
    Table keys = with_notes({{"architectures", kOnly, kTextClasses},
                             {"model_type", kOnly, kTextTypes},
                             {"num_hidden_layers"},
                             {"num_attention_heads"},
                             {"num_key_value_heads"},
                             {"head_dim"},
                             {"hidden_size"},
                             {"intermediate_size"},
                             {"vocab_size"},
                             {"rms_norm_eps"},
                             {"rope_theta"},
                             {"rope_parameters"},
                             {"rope_scaling"},
                             {"layer_types"},
                             {"sliding_window"},
                             {"use_sliding_window"},
                             {"hidden_act", kOnly, kSilu},
                             {"attention_bias", kOnly, kFalse},
                             {"mlp_bias", kOnly, kFalse},
                             {"use_qk_norm", kOnly, kTrue},
                             {"qk_norm", kOnly, kTrue},
                             {"is_causal", kOnly, kTrue},
                             {"partial_rotary_factor", kOnly, "[1]"},
                             {"num_experts", kOnly, "[0]"},
                             {"num_local_experts", kOnly, "[0]"}});
    keys.insert(keys.end(), generation_keys().begin(), generation_keys().end());
    return keys;
  }();
  return table;
}

// Around a text_config: the vision tower is not run, and text settings repeated here are not the ones that count.
const Table& vision_language_table() {
  static const Table table = [] {
    Table keys{{"text_config"}, {"vision_config", kHarmless}};
    for (ConfigKey key : text_table()) {
      const bool counts = key.name == "architectures" || key.name == "model_type" ||
                          key.name.starts_with("quantization") || key.name.starts_with("ideogram");
      if (!counts) key.role = kHarmless;
      keys.push_back(key);
    }
    return keys;
  }();
  return table;
}

// With the same position on all axes, as text has them, the sections are the same.
const Table& rope_table() {
  static const Table table{
      {"rope_theta"},
      {"mrope_section"},
      {"mrope_interleaved", kHarmless},
      {"rope_type", kOnly, R"(["default", "mrope"])", "positions are not scaled"},
      {"type", kOnly, R"(["default", "mrope"])", "positions are not scaled"},
      {"factor", kOnly, "[1]", "positions are not scaled"},
      {"partial_rotary_factor", kOnly, "[1]"}};
  return table;
}

// AutoencoderKLFlux2; only the decoder is run.
const Table& vae_table() {
  static const Table table = with_notes(
      {{"_class_name", kOnly, R"(["AutoencoderKLFlux2"])"},
       {"latent_channels"},
       {"block_out_channels"},
       {"decoder_block_out_channels"},
       {"layers_per_block"},
       {"norm_num_groups"},
       {"batch_norm_eps"},
       {"mid_block_add_attention"},
       {"use_post_quant_conv"},
       {"up_block_types"},
       {"act_fn", kOnly, kSilu},
       {"out_channels", kOnly, "[3]"},
       {"patch_size", kOnly, "[[2, 2], 2]"},
       {"scaling_factor", kOnly, "[1]", "latents are scaled by the batch norm's statistics"},
       {"shift_factor", kOnly, "[0]", "latents are shifted by the batch norm's statistics"},
       {"latents_mean", kOnly, kNull, "latents are shifted by the batch norm's statistics"},
       {"latents_std", kOnly, kNull, "latents are scaled by the batch norm's statistics"},
       {"norm_type", kOnly, R"(["group", "group_norm"])"},
       {"norm_eps", kOnly, "[1e-6]"},
       {"mid_block_type", kOnly, R"(["UNetMidBlock2D"])"},
       {"down_block_types", kHarmless},
       {"in_channels", kHarmless},
       {"sample_size", kHarmless},
       {"force_upcast", kHarmless},
       {"use_quant_conv", kHarmless},
       {"batch_norm_momentum", kHarmless}});
  return table;
}

// tokenizer_config.json: what tokens a text becomes stands in tokenizer.json, so the rest says how to wrap them.
const Table& tokenizer_table() {
  static const Table table = [] {
    Table keys{{"tokenizer_class", kOnly, kTokenizerClasses},
               {"add_bos_token", kOnly, kFalse},
               {"add_eos_token", kOnly, kFalse},
               {"add_prefix_space", kOnly, kFalse},
               {"split_special_tokens", kOnly, kFalse}};
    for (const std::string_view name : {"added_tokens_decoder",
                                        "additional_special_tokens",
                                        "backend",
                                        "bos_token",
                                        "chat_template",
                                        "clean_up_tokenization_spaces",
                                        "eos_token",
                                        "errors",
                                        "extra_special_tokens",
                                        "image_token",
                                        "is_local",
                                        "legacy",
                                        "max_length",
                                        "model_input_names",
                                        "model_max_length",
                                        "model_specific_special_tokens",
                                        "pad_token",
                                        "padding_side",
                                        "processor_class",
                                        "stride",
                                        "truncation_side",
                                        "truncation_strategy",
                                        "unk_token",
                                        "use_fast",
                                        "video_token",
                                        "vision_bos_token",
                                        "vision_eos_token"})
      keys.push_back({name, kHarmless});
    return keys;
  }();
  return table;
}

const Table& table_of(ConfigKind kind, const JsonConfig& config) {
  switch (kind) {
    case ConfigKind::kModelIndex:
      return model_index_table();
    case ConfigKind::kScheduler:
      return scheduler_table();
    case ConfigKind::kTransformer:
      return transformer_table();
    case ConfigKind::kTextEncoder:
      return config.contains("text_config") ? vision_language_table() : text_table();
    case ConfigKind::kVae:
      return vae_table();
    case ConfigKind::kTokenizer:
      return tokenizer_table();
  }
  return vae_table();
}

// Calls visit(config, table, prefix) for the config and what is nested in it.
template <typename Visit>
Status visit_nested(ConfigKind kind, const JsonConfig& config, Visit visit) {
  INTAGLIO_TRY(visit(config, table_of(kind, config), std::string()));
  if (kind != ConfigKind::kTextEncoder) return {};
  std::optional<JsonConfig> text = config;
  std::string prefix;
  if (config.contains("text_config")) {
    INTAGLIO_ASSIGN(text, config.object("text_config"));
    prefix = "text_config.";
    INTAGLIO_TRY(visit(*text, text_table(), prefix));
  }
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    if (!text->contains(key)) continue;
    INTAGLIO_ASSIGN(const JsonConfig rope, text->object(key));
    INTAGLIO_TRY(visit(rope, rope_table(), prefix + key + "."));
  }
  return {};
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
  return visit_nested(kind, config,
                      [](const JsonConfig& part, const Table& table, const std::string&) {
                        return check_config_keys(part, table);
                      });
}

UnknownKeys unknown_keys(ConfigKind kind, const JsonConfig& config) {
  UnknownKeys unknown;
  // A nested value of the wrong type is its parser's error.
  static_cast<void>(visit_nested(
      kind, config,
      [&](const JsonConfig& part, const Table& table, const std::string& prefix) -> Status {
        const UnknownKeys found = unknown_config_keys(part, table, prefix);
        unknown.all.insert(unknown.all.end(), found.all.begin(), found.all.end());
        unknown.arithmetic.insert(unknown.arithmetic.end(), found.arithmetic.begin(),
                                  found.arithmetic.end());
        return {};
      }));
  return unknown;
}

}  // namespace intaglio
