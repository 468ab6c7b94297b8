#include "models/qwen_image/config.h"

#include "models/parts/config_values.h"
#include "models/qwen_image/config_keys.h"

namespace intaglio::qwen_image {
namespace {

constexpr int64_t kFeedForwardRatio = 4;
constexpr int64_t kPatch = 2;  // latents of a token in each direction
constexpr float kEps = 1e-6f;  // of all norms; no config has it

}  // namespace

DoubleBlockSizes TransformerConfig::block() const {
  return {.heads = heads,
          .head_dim = head_dim,
          .intermediate = kFeedForwardRatio * width(),
          .norm_eps = kEps,
          .qk_norm_eps = kEps,
          .bias = true,
          .text = {{"txt_mlp.net.0.proj"}, "txt_mlp.net.2"},
          .image = {{"img_mlp.net.0.proj"}, "img_mlp.net.2"}};
}

Expected<TransformerConfig> parse_transformer_config(const JsonConfig& json) {
  const KeyedConfig keyed{json, transformer_keys()};
  INTAGLIO_TRY(check_config_keys({&keyed, 1}));
  INTAGLIO_TRY(check_quantization(json));
  TransformerConfig config;
  INTAGLIO_ASSIGN(config.layers, json.integer("num_layers", 1, kMaxLayers));
  INTAGLIO_ASSIGN(config.heads, json.integer("num_attention_heads", 1, kMaxWidth));
  INTAGLIO_ASSIGN(config.head_dim, json.integer("attention_head_dim", 2, 1024));
  INTAGLIO_ASSIGN(config.channels, json.integer("in_channels", 1, kMaxWidth));
  INTAGLIO_ASSIGN(config.text_dim, json.integer("joint_attention_dim", 1, kMaxWidth));
  INTAGLIO_ASSIGN(const int64_t planes, json.integer("out_channels", 1, kMaxWidth));
  if (planes * kPatch * kPatch != config.channels) {
    return make_error(ErrorCode::kUnsupported,
                      "{}out_channels: found {}, supported is in_channels {} / {}", json.where(),
                      planes, config.channels, kPatch * kPatch);
  }
  if (config.width() > kMaxWidth / kFeedForwardRatio) {
    return make_error(ErrorCode::kBadFormat,
                      "{}num_attention_heads {} x attention_head_dim {}: expected at most {}",
                      json.where(), config.heads, config.head_dim, kMaxWidth / kFeedForwardRatio);
  }
  INTAGLIO_ASSIGN(config.axes,
                  read_rope_axes(json, "axes_dims_rope", config.head_dim, "attention_head_dim"));
  return config;
}

TransformerConfig published_config() {
  return {.layers = 60,
          .heads = 24,
          .head_dim = 128,
          .channels = 64,
          .text_dim = 3584,
          .axes = {16, 56, 56}};
}

}  // namespace intaglio::qwen_image
