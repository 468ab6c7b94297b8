#include "models/ideogram4/config.h"

#include "models/ideogram4/config_keys.h"
#include "models/parts/config_values.h"

namespace intaglio::ideogram4 {

std::vector<int64_t> published_taps() {
  std::vector<int64_t> taps;
  for (int64_t layer = 0; layer <= 33; layer += 3) taps.push_back(layer);
  taps.push_back(35);
  return taps;
}

Expected<TransformerConfig> parse_transformer_config(const JsonConfig& json) {
  const KeyedConfig keyed{json, transformer_keys()};
  INTAGLIO_TRY(check_config_keys({&keyed, 1}));
  INTAGLIO_TRY(check_quantization(json));
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

Expected<qwen3::TextEncoderConfig> parse_text_config(const JsonConfig& json,
                                                     const JsonConfig* model_index) {
  INTAGLIO_ASSIGN(qwen3::TextEncoderConfig config, qwen3::parse_text_encoder_config(json));
  std::vector<int64_t> taps = published_taps();
  std::string where = json.where() + "text_activation_layers";
  if (model_index != nullptr && model_index->contains("text_activation_layers")) {
    where = model_index->where() + "text_activation_layers";
    INTAGLIO_ASSIGN(taps,
                    model_index->integers("text_activation_layers", 0, kMaxLayers, kMaxLayers));
  }
  INTAGLIO_TRY(qwen3::set_taps(std::move(taps), where, config));
  return config;
}

}  // namespace intaglio::ideogram4
