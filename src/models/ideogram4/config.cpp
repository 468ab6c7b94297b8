#include "models/ideogram4/config.h"

namespace intaglio {
namespace {

constexpr int64_t kMaxWidth = 1 << 20;
constexpr int64_t kMaxLayers = 4096;

// Taps of the published pipeline for Qwen3-VL-8B: layers 0, 3, ..., 33 and 35.
std::vector<int64_t> default_taps() {
  std::vector<int64_t> taps;
  for (int64_t layer = 0; layer <= 33; layer += 3) taps.push_back(layer);
  taps.push_back(35);
  return taps;
}

Expected<double> rope_theta_of(const JsonConfig& text) {
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    if (!text.contains(key)) continue;
    INTAGLIO_ASSIGN(const JsonConfig rope, text.object(key));
    if (rope.contains("rope_theta")) return rope.number("rope_theta");
  }
  return text.number("rope_theta");
}

}  // namespace

Expected<TransformerConfig> parse_transformer_config(const JsonConfig& json) {
  TransformerConfig config;
  INTAGLIO_ASSIGN(config.layers, json.integer("num_layers", 1, kMaxLayers));
  INTAGLIO_ASSIGN(config.heads, json.integer("num_attention_heads", 1, kMaxWidth));
  INTAGLIO_ASSIGN(config.head_dim, json.integer("attention_head_dim", 2, 1024));
  INTAGLIO_ASSIGN(config.intermediate, json.integer("intermediate_size", 1, kMaxWidth));
  INTAGLIO_ASSIGN(config.adaln_dim, json.integer("adaln_dim", 1, kMaxWidth));
  INTAGLIO_ASSIGN(config.channels, json.integer("in_channels", 4, kMaxWidth));
  INTAGLIO_ASSIGN(config.text_dim, json.integer("llm_features_dim", 1, kMaxWidth));
  INTAGLIO_ASSIGN(const std::vector<int64_t> section, json.integers("mrope_section", 0, 1024, 3));
  INTAGLIO_ASSIGN(config.rope_theta, json.number("rope_theta"));
  INTAGLIO_ASSIGN(const double eps, json.number_or("norm_eps", 1e-5));
  config.norm_eps = static_cast<float>(eps);
  if (config.head_dim % 2 != 0) {
    return make_error(ErrorCode::kBadFormat, "attention_head_dim is {}; expected an even number",
                      config.head_dim);
  }
  if (config.channels % 4 != 0) {
    return make_error(ErrorCode::kBadFormat,
                      "in_channels is {}; expected a multiple of 4 (2 x 2 latent pixels a token)",
                      config.channels);
  }
  if (section.size() != 3) {
    return make_error(ErrorCode::kBadFormat, "mrope_section has {} entries; expected 3",
                      section.size());
  }
  if (!(config.rope_theta > 0.0)) {
    return make_error(ErrorCode::kBadFormat, "rope_theta is {}; expected a positive number",
                      config.rope_theta);
  }
  if (config.width() > kMaxWidth) {
    return make_error(ErrorCode::kBadFormat, "width {} x {} exceeds {}", config.heads,
                      config.head_dim, kMaxWidth);
  }
  std::copy(section.begin(), section.end(), config.mrope_section.begin());
  return config;
}

Expected<TextEncoderConfig> parse_text_encoder_config(const JsonConfig& json,
                                                      const JsonConfig* model_index) {
  JsonConfig text = json;
  if (json.contains("text_config")) {
    INTAGLIO_ASSIGN(text, json.object("text_config"));
  }
  TextEncoderConfig config;
  INTAGLIO_ASSIGN(config.layers, text.integer("num_hidden_layers", 1, kMaxLayers));
  INTAGLIO_ASSIGN(config.heads, text.integer("num_attention_heads", 1, kMaxWidth));
  INTAGLIO_ASSIGN(config.kv_heads,
                  text.integer_or("num_key_value_heads", config.heads, 1, kMaxWidth));
  INTAGLIO_ASSIGN(config.hidden, text.integer("hidden_size", 1, kMaxWidth));
  INTAGLIO_ASSIGN(
      config.head_dim,
      text.integer_or("head_dim", std::max<int64_t>(1, config.hidden / config.heads), 2, 1024));
  INTAGLIO_ASSIGN(config.intermediate, text.integer("intermediate_size", 1, kMaxWidth));
  INTAGLIO_ASSIGN(config.vocab, text.integer("vocab_size", 1, int64_t{1} << 24));
  INTAGLIO_ASSIGN(const double eps, text.number_or("rms_norm_eps", 1e-6));
  config.norm_eps = static_cast<float>(eps);
  INTAGLIO_ASSIGN(config.rope_theta, rope_theta_of(text));
  if (config.heads % config.kv_heads != 0) {
    return make_error(ErrorCode::kBadFormat,
                      "num_attention_heads {} is not a multiple of num_key_value_heads {}",
                      config.heads, config.kv_heads);
  }
  if (config.head_dim % 2 != 0) {
    return make_error(ErrorCode::kBadFormat, "head_dim is {}; expected an even number",
                      config.head_dim);
  }
  config.taps = default_taps();
  if (model_index != nullptr && model_index->contains("text_activation_layers")) {
    INTAGLIO_ASSIGN(config.taps,
                    model_index->integers("text_activation_layers", 0, kMaxLayers, kMaxLayers));
  }
  if (config.taps.empty())
    return make_error(ErrorCode::kBadFormat,
                      "text_activation_layers is empty; expected layer numbers");
  for (size_t i = 0; i < config.taps.size(); ++i) {
    if (config.taps[i] >= config.layers || (i > 0 && config.taps[i] <= config.taps[i - 1])) {
      return make_error(ErrorCode::kBadFormat,
                        "text_activation_layers[{}] is {}; expected ascending layer numbers below "
                        "num_hidden_layers {}",
                        i, config.taps[i], config.layers);
    }
  }
  return config;
}

}  // namespace intaglio
