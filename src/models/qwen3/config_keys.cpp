#include "models/qwen3/config_keys.h"

#include "models/parts/config_notes.h"

namespace intaglio::qwen3 {
namespace {

using enum KeyRole;

constexpr std::string_view kTokenizerClasses =
    R"(["TokenizersBackend", "Qwen2Tokenizer", "Qwen2TokenizerFast", "PreTrainedTokenizerFast"])";

// Defaults of generating text that older configs repeat, and ids.
const ConfigTable& generation_keys() {
  static const ConfigTable table = [] {
    ConfigTable keys;
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

// Without pictures in the prompt Qwen3-VL's language model computes what Qwen3 does, and
// Qwen2.5-VL's what Qwen2.5 does.
constexpr std::string_view kTextClasses =
    R"([["Qwen3VLModel"], ["Qwen3VLForConditionalGeneration"], ["Qwen3VLTextModel"], ["Qwen3Model"], ["Qwen3ForCausalLM"], ["Qwen2_5_VLForConditionalGeneration"], ["Qwen2_5_VLModel"], ["Qwen2_5_VLTextModel"]])";
constexpr std::string_view kTextTypes =
    R"(["qwen3_vl", "qwen3_vl_text", "qwen3", "qwen2_5_vl", "qwen2_5_vl_text"])";

// Qwen3-VL's language model. Its head is not run, so whether that is tied to the embeddings is the
// same.
const ConfigTable& text_table() {
  static const ConfigTable table = [] {
    ConfigTable keys = with_notes({{"architectures", kOnly, kTextClasses},
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

// Around a text_config: the vision tower is not run, and text settings repeated here are not the
// ones that count.
const ConfigTable& vision_language_table() {
  static const ConfigTable table = [] {
    ConfigTable keys{{"text_config"}, {"vision_config", kHarmless}};
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
const ConfigTable& rope_table() {
  static const ConfigTable table{
      {"rope_theta"},
      {"mrope_section"},
      {"mrope_interleaved", kHarmless},
      {"rope_type", kOnly, R"(["default", "mrope"])", "positions are not scaled"},
      {"type", kOnly, R"(["default", "mrope"])", "positions are not scaled"},
      {"factor", kOnly, "[1]", "positions are not scaled"},
      {"partial_rotary_factor", kOnly, "[1]"}};
  return table;
}

// tokenizer_config.json: what tokens a text becomes stands in tokenizer.json, so the rest says how
// to wrap them.
const ConfigTable& tokenizer_table() {
  static const ConfigTable table = [] {
    ConfigTable keys{{"tokenizer_class", kOnly, kTokenizerClasses},
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

}  // namespace

Expected<std::vector<KeyedConfig>> keyed_text_config(const JsonConfig& config) {
  const bool nested = config.contains("text_config");
  std::vector<KeyedConfig> parts{{config, nested ? vision_language_table() : text_table()}};
  if (nested) {
    INTAGLIO_ASSIGN(const JsonConfig text, config.object("text_config"));
    parts.push_back({text, text_table(), "text_config."});
  }
  const KeyedConfig text = parts.back();
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    if (!text.config.contains(key)) continue;
    INTAGLIO_ASSIGN(const JsonConfig rope, text.config.object(key));
    parts.push_back({rope, rope_table(), text.prefix + key + "."});
  }
  return parts;
}

std::vector<KeyedConfig> keyed_tokenizer_config(const JsonConfig& config) {
  return {{config, tokenizer_table()}};
}

}  // namespace intaglio::qwen3
