#include "models/qwen3/config.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "models/parts/config_notes.h"
#include "models/parts/config_values.h"
#include "models/qwen3/chat.h"
#include "models/qwen3/config_keys.h"

namespace intaglio::qwen3 {
namespace {

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

// Qwen2.5's, by what the config or the one around it calls itself.
bool is_qwen2_5(const JsonConfig& config) {
  constexpr std::string_view kType = "qwen2_5_vl", kClass = "Qwen2_5_VL";
  const auto begins = [](const nlohmann::json& name, std::string_view with) {
    return name.is_string() && name.get_ref<const std::string&>().starts_with(with);
  };
  const nlohmann::json& json = config.json();
  if (json.contains("model_type") && begins(json.at("model_type"), kType)) return true;
  if (!json.contains("architectures")) return false;
  const nlohmann::json& classes = json.at("architectures");
  return std::any_of(classes.begin(), classes.end(),
                     [&](const nlohmann::json& name) { return begins(name, kClass); });
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

TextEncoderConfig qwen3_4b() {
  TextEncoderConfig config;
  config.layers = 36;
  config.heads = 32;
  config.kv_heads = 8;
  config.head_dim = 128;
  config.hidden = 2560;
  config.intermediate = 9728;
  config.vocab = 151936;
  config.rope_theta = 1e6;
  config.norm_eps = 1e-6f;
  return config;
}

TextEncoderConfig qwen3_8b() {
  TextEncoderConfig config = qwen3_4b();
  config.hidden = 4096;
  config.intermediate = 12288;
  return config;
}

TextEncoderConfig qwen2_5_7b() {
  TextEncoderConfig config;
  config.layers = 28;
  config.heads = 28;
  config.kv_heads = 4;
  config.head_dim = 128;
  config.hidden = 3584;
  config.intermediate = 18944;
  config.vocab = 152064;
  config.rope_theta = 1e6;
  config.norm_eps = 1e-6f;
  config.qk_norm = false;
  config.qkv_bias = true;
  return config;
}

Expected<TextEncoderConfig> parse_text_encoder_config(const JsonConfig& json) {
  INTAGLIO_ASSIGN(const std::vector<KeyedConfig> keyed, keyed_text_config(json));
  INTAGLIO_TRY(check_config_keys(keyed));
  INTAGLIO_TRY(check_quantization(json));
  JsonConfig text = json;
  if (json.contains("text_config")) {
    INTAGLIO_ASSIGN(text, json.object("text_config"));
    INTAGLIO_TRY(check_quantization(text));
  }
  TextEncoderConfig config;
  config.qkv_bias = is_qwen2_5(json) || is_qwen2_5(text);
  config.qk_norm = !config.qkv_bias;
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
    // Qwen2.5's are stretches of a head: of text, which has one position, they say nothing.
    if (!rope.contains("mrope_section") || config.qkv_bias) continue;
    INTAGLIO_TRY(read_sections(rope, config.head_dim, "head_dim"));
  }
  return config;
}

Status set_states(const std::vector<int64_t>& states, const std::string& where,
                  TextEncoderConfig& config) {
  if (states.empty())
    return make_error(ErrorCode::kBadFormat, "{} is empty; expected numbers of states", where);
  config.taps.clear();
  for (size_t i = 0; i < states.size(); ++i) {
    const bool ascends = i == 0 || states[i] > states[i - 1];
    if (states[i] < 0 || states[i] > config.layers || !ascends)
      return make_error(ErrorCode::kBadFormat,
                        "{}[{}] is {}; expected ascending numbers up to num_hidden_layers {}",
                        where, i, states[i], config.layers);
    config.taps.push_back(states[i] - 1);
  }
  config.side_by_side = true;
  config.final_norm = states.back() == config.layers;
  return {};
}

Status set_taps(std::vector<int64_t> taps, const std::string& where, TextEncoderConfig& config) {
  if (taps.empty())
    return make_error(ErrorCode::kBadFormat, "{} is empty; expected layer numbers", where);
  for (size_t i = 0; i < taps.size(); ++i) {
    if (taps[i] >= 0 && taps[i] < config.layers && (i == 0 || taps[i] > taps[i - 1])) continue;
    return make_error(ErrorCode::kBadFormat,
                      "{}[{}] is {}; expected ascending layer numbers below num_hidden_layers {}",
                      where, i, taps[i], config.layers);
  }
  config.taps = std::move(taps);
  return {};
}

}  // namespace intaglio::qwen3
