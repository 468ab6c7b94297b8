#include "models/ideogram4/config.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "models/ideogram4/config_keys.h"
#include "models/qwen3/chat.h"

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

Expected<float> read_eps(const JsonConfig& json, const char* key, double fallback) {
  INTAGLIO_ASSIGN(const double eps, json.number_or(key, fallback));
  if (eps >= 0.0 && eps < 1.0) return static_cast<float>(eps);
  return make_error(ErrorCode::kBadFormat, "{}{}: expected a number in [0, 1), found {}",
                    json.where(), key, eps);
}

Expected<double> read_theta(const JsonConfig& json) {
  INTAGLIO_ASSIGN(const double theta, json.number("rope_theta"));
  if (theta > 0.0) return theta;
  return make_error(ErrorCode::kBadFormat, "{}rope_theta: expected a positive number, found {}",
                    json.where(), theta);
}

// From the rope's own object, or beside the sizes in older configs; both must agree.
Expected<double> rope_theta_of(const JsonConfig& text) {
  std::optional<double> theta;
  for (const char* key : {"rope_parameters", "rope_scaling", ""}) {
    if (*key != '\0' && !text.contains(key)) continue;
    std::optional<JsonConfig> rope = text;
    if (*key != '\0') {
      INTAGLIO_ASSIGN(rope, text.object(key));
    }
    if (!rope->contains("rope_theta")) continue;
    INTAGLIO_ASSIGN(const double found, read_theta(*rope));
    if (theta && *theta != found)
      return make_error(ErrorCode::kBadFormat, "{}rope_theta is {} in one place and {} in another",
                        text.where(), *theta, found);
    theta = found;
  }
  if (theta) return *theta;
  return text.number("rope_theta");  // which names what is missing
}

// Each axis must find all frequencies of its section among those of a head: h has 1, 4, 7, .., w 2, 5, 8, .., t what they leave.
Expected<std::array<int64_t, 3>> read_sections(const JsonConfig& json, int64_t head_dim,
                                               const char* head_key) {
  INTAGLIO_ASSIGN(const std::vector<int64_t> section, json.integers("mrope_section", 0, 1024, 3));
  if (section.size() != 3) {
    return make_error(ErrorCode::kBadFormat, "{}mrope_section has {} entries; expected 3",
                      json.where(), section.size());
  }
  const int64_t frequencies = head_dim / 2;
  const bool fits = section[0] + section[1] + section[2] <= frequencies &&
                    (section[1] == 0 || 3 * section[1] - 2 < frequencies) &&
                    (section[2] == 0 || 3 * section[2] - 1 < frequencies);
  if (!fits) {
    return make_error(ErrorCode::kBadFormat,
                      "{}mrope_section [{}, {}, {}] does not fit the {} frequencies of a head ({} "
                      "is {})",
                      json.where(), section[0], section[1], section[2], frequencies, head_key,
                      head_dim);
  }
  return std::array<int64_t, 3>{section[0], section[1], section[2]};
}

// Every layer attends to all tokens before it; a window would have to be wider than any prompt.
Status check_full_attention(const JsonConfig& text) {
  if (text.contains("layer_types")) {
    const nlohmann::json& types = text.json().at("layer_types");
    const auto is_full = [](const nlohmann::json& type) { return type == "full_attention"; };
    if (!types.is_array() || !std::all_of(types.begin(), types.end(), is_full))
      return make_error(ErrorCode::kUnsupported,
                        "{}layer_types: supported is full_attention for every layer", text.where());
  }
  INTAGLIO_ASSIGN(const bool slides, text.boolean_or("use_sliding_window", true));
  if (!slides) return {};
  INTAGLIO_ASSIGN(const int64_t window,
                  text.integer_or("sliding_window", kMaxPromptTokens, 0, int64_t{1} << 40));
  if (window >= kMaxPromptTokens) return {};
  return make_error(ErrorCode::kUnsupported,
                    "{}sliding_window: found {}, supported is null or {} and more", text.where(),
                    window, kMaxPromptTokens);
}

}  // namespace

Expected<TransformerConfig> parse_transformer_config(const JsonConfig& json) {
  INTAGLIO_TRY(check_known_keys(ConfigKind::kTransformer, json));
  TransformerConfig config;
  INTAGLIO_ASSIGN(config.layers, json.integer("num_layers", 1, kMaxLayers));
  INTAGLIO_ASSIGN(config.heads, json.integer("num_attention_heads", 1, kMaxWidth));
  INTAGLIO_ASSIGN(config.head_dim, json.integer("attention_head_dim", 2, 1024));
  INTAGLIO_ASSIGN(config.intermediate, json.integer("intermediate_size", 1, kMaxWidth));
  INTAGLIO_ASSIGN(config.adaln_dim, json.integer("adaln_dim", 1, kMaxWidth));
  INTAGLIO_ASSIGN(config.channels, json.integer("in_channels", 4, kMaxWidth));
  INTAGLIO_ASSIGN(config.text_dim, json.integer("llm_features_dim", 1, kMaxWidth));
  INTAGLIO_ASSIGN(config.rope_theta, read_theta(json));
  INTAGLIO_ASSIGN(config.norm_eps, read_eps(json, "norm_eps", 1e-5));
  INTAGLIO_ASSIGN(const int64_t out_channels,
                  json.integer_or("out_channels", config.channels, 1, kMaxWidth));
  if (config.head_dim % 2 != 0) {
    return make_error(ErrorCode::kBadFormat, "{}attention_head_dim is {}; expected an even number",
                      json.where(), config.head_dim);
  }
  if (config.channels % 4 != 0) {
    return make_error(ErrorCode::kBadFormat,
                      "{}in_channels is {}; expected a multiple of 4 (2 x 2 latent pixels a token)",
                      json.where(), config.channels);
  }
  if (out_channels != config.channels) {
    return make_error(ErrorCode::kUnsupported,
                      "{}out_channels: found {}, supported is in_channels {}", json.where(),
                      out_channels, config.channels);
  }
  if (config.width() > kMaxWidth) {
    return make_error(ErrorCode::kBadFormat, "{}width {} x {} exceeds {}", json.where(),
                      config.heads, config.head_dim, kMaxWidth);
  }
  INTAGLIO_ASSIGN(config.mrope_section, read_sections(json, config.head_dim, "attention_head_dim"));
  return config;
}

Expected<TextEncoderConfig> parse_text_encoder_config(const JsonConfig& json,
                                                      const JsonConfig* model_index) {
  INTAGLIO_TRY(check_known_keys(ConfigKind::kTextEncoder, json));
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
  INTAGLIO_ASSIGN(config.norm_eps, read_eps(text, "rms_norm_eps", 1e-6));
  INTAGLIO_ASSIGN(config.rope_theta, rope_theta_of(text));
  if (config.heads % config.kv_heads != 0) {
    return make_error(ErrorCode::kBadFormat,
                      "{}num_attention_heads {} is not a multiple of num_key_value_heads {}",
                      text.where(), config.heads, config.kv_heads);
  }
  if (config.head_dim % 2 != 0) {
    return make_error(ErrorCode::kBadFormat, "{}head_dim is {}; expected an even number",
                      text.where(), config.head_dim);
  }
  INTAGLIO_TRY(check_full_attention(text));
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    if (!text.contains(key)) continue;
    INTAGLIO_ASSIGN(const JsonConfig rope, text.object(key));
    if (!rope.contains("mrope_section")) continue;
    INTAGLIO_TRY(read_sections(rope, config.head_dim, "head_dim"));
  }
  config.taps = default_taps();
  if (model_index != nullptr && model_index->contains("text_activation_layers")) {
    INTAGLIO_ASSIGN(config.taps,
                    model_index->integers("text_activation_layers", 0, kMaxLayers, kMaxLayers));
  }
  if (config.taps.empty())
    return make_error(ErrorCode::kBadFormat,
                      "{}text_activation_layers is empty; expected layer numbers",
                      model_index->where());
  for (size_t i = 0; i < config.taps.size(); ++i) {
    if (config.taps[i] >= config.layers || (i > 0 && config.taps[i] <= config.taps[i - 1])) {
      return make_error(ErrorCode::kBadFormat,
                        "{}text_activation_layers[{}] is {}; expected ascending layer numbers "
                        "below num_hidden_layers {}",
                        model_index != nullptr ? model_index->where() : text.where(), i,
                        config.taps[i], config.layers);
    }
  }
  return config;
}

}  // namespace intaglio
