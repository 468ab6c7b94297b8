#include "models/krea2/config.h"

#include "models/krea2/config_keys.h"
#include "models/parts/config_values.h"

namespace intaglio::krea2 {
namespace {

// `prefix` is that of the heads' keys.
Status check_heads(const JsonConfig& json, const std::string& prefix, const BlockShape& block) {
  if (block.heads % block.kv_heads != 0) {
    return make_error(ErrorCode::kBadFormat,
                      "{}{}num_attention_heads {} is not a multiple of {}num_key_value_heads {}",
                      json.where(), prefix, block.heads, prefix, block.kv_heads);
  }
  if (block.width() > kMaxWidth) {
    return make_error(ErrorCode::kBadFormat,
                      "{}{}num_attention_heads: {} heads of {} channels "
                      "are wider than {}",
                      json.where(), prefix, block.heads, block.head_dim, kMaxWidth);
  }
  return {};
}

// The heads of the text stage share its width.
Expected<BlockShape> read_text_block(const JsonConfig& json) {
  BlockShape block;
  INTAGLIO_ASSIGN(const int64_t width, json.integer("text_hidden_dim", 1, kMaxWidth));
  INTAGLIO_ASSIGN(block.heads, json.integer("text_num_attention_heads", 1, kMaxWidth));
  INTAGLIO_ASSIGN(block.kv_heads,
                  json.integer_or("text_num_key_value_heads", block.heads, 1, kMaxWidth));
  INTAGLIO_ASSIGN(block.intermediate, json.integer("text_intermediate_size", 1, kMaxWidth));
  if (width % block.heads != 0 || width / block.heads % 2 != 0) {
    return make_error(ErrorCode::kBadFormat,
                      "{}text_hidden_dim {} and text_num_attention_heads {}: expected heads of an "
                      "even number of channels",
                      json.where(), width, block.heads);
  }
  block.head_dim = width / block.heads;
  INTAGLIO_TRY(check_heads(json, "text_", block));
  return block;
}

}  // namespace

Expected<TransformerConfig> parse_transformer_config(const JsonConfig& json) {
  const KeyedConfig keyed{json, transformer_keys()};
  INTAGLIO_TRY(check_config_keys({&keyed, 1}));
  INTAGLIO_TRY(check_quantization(json));
  TransformerConfig config;
  BlockShape& block = config.block;
  INTAGLIO_ASSIGN(config.layers, json.integer("num_layers", 1, kMaxLayers));
  INTAGLIO_ASSIGN(block.heads, json.integer("num_attention_heads", 1, kMaxWidth));
  INTAGLIO_ASSIGN(block.kv_heads,
                  json.integer_or("num_key_value_heads", block.heads, 1, kMaxWidth));
  INTAGLIO_ASSIGN(block.head_dim, json.integer("attention_head_dim", 2, 1024));
  INTAGLIO_ASSIGN(block.intermediate, json.integer("intermediate_size", 1, kMaxWidth));
  INTAGLIO_TRY(check_heads(json, "", block));
  INTAGLIO_ASSIGN(config.text_block, read_text_block(json));
  INTAGLIO_ASSIGN(config.layerwise_blocks,
                  json.integer("num_layerwise_text_blocks", 1, kMaxLayers));
  INTAGLIO_ASSIGN(config.refiner_blocks, json.integer("num_refiner_text_blocks", 1, kMaxLayers));
  INTAGLIO_ASSIGN(config.taps, json.integer("num_text_layers", 1, kMaxLayers));
  INTAGLIO_ASSIGN(config.channels, json.integer("in_channels", 1, kMaxWidth));
  INTAGLIO_ASSIGN(config.time_frequencies,
                  json.integer_or("timestep_embed_dim", 256, 2, kMaxWidth));
  INTAGLIO_ASSIGN(config.rope_theta, read_theta(json));
  INTAGLIO_ASSIGN(block.norm_eps, read_eps(json, "norm_eps", 1e-5));
  config.text_block.norm_eps = block.norm_eps;
  if (config.time_frequencies % 2 != 0) {
    return make_error(ErrorCode::kBadFormat, "{}timestep_embed_dim is {}; expected an even number",
                      json.where(), config.time_frequencies);
  }
  INTAGLIO_ASSIGN(config.axes,
                  read_rope_axes(json, "axes_dims_rope", block.head_dim, "attention_head_dim"));
  return config;
}

TransformerConfig published_config() {
  TransformerConfig config;
  config.layers = 28;
  config.block = {
      .heads = 48, .kv_heads = 12, .head_dim = 128, .intermediate = 16384, .norm_eps = 1e-5f};
  config.text_block = {
      .heads = 20, .kv_heads = 20, .head_dim = 128, .intermediate = 6912, .norm_eps = 1e-5f};
  config.layerwise_blocks = 2;
  config.refiner_blocks = 2;
  config.taps = 12;
  config.channels = 64;
  config.time_frequencies = 256;
  config.axes = {32, 48, 48};
  config.rope_theta = 1000.0;
  return config;
}

}  // namespace intaglio::krea2
