#include "models/flux2_klein/config.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "models/flux2_klein/config_keys.h"
#include "models/parts/config_values.h"

namespace intaglio::flux2_klein {
namespace {

// Channels of a head by axis: even numbers that add up to the head.
Expected<std::array<int64_t, 4>> read_axes(const JsonConfig& json, int64_t head_dim) {
  std::array<int64_t, 4> axes{};
  INTAGLIO_ASSIGN(const std::vector<int64_t> found,
                  json.integers("axes_dims_rope", 0, 1024, axes.size()));
  const bool fits =
      found.size() == axes.size() &&
      std::accumulate(found.begin(), found.end(), int64_t{0}) == head_dim &&
      std::all_of(found.begin(), found.end(), [](int64_t channels) { return channels % 2 == 0; });
  if (!fits) {
    return make_error(ErrorCode::kBadFormat,
                      "{}axes_dims_rope: expected four even numbers that add up to the {} channels "
                      "of a head (attention_head_dim)",
                      json.where(), head_dim);
  }
  std::copy(found.begin(), found.end(), axes.begin());
  return axes;
}

// "out_channels" is null, or the same number.
Status check_out_channels(const JsonConfig& json, int64_t channels) {
  constexpr const char* kKey = "out_channels";
  if (!json.contains(kKey) || json.json().at(kKey).is_null()) return {};
  INTAGLIO_ASSIGN(const int64_t out, json.integer(kKey, 1, kMaxWidth));
  if (out == channels) return {};
  return make_error(ErrorCode::kUnsupported, "{}{}: found {}, supported is in_channels, {}",
                    json.where(), kKey, out, channels);
}

}  // namespace

int64_t TransformerConfig::intermediate() const {
  return static_cast<int64_t>(static_cast<double>(width()) * mlp_ratio);
}

DoubleBlockSizes TransformerConfig::double_block() const {
  return {
      .heads = heads,
      .head_dim = head_dim,
      .intermediate = intermediate(),
      .norm_eps = eps,
      .qk_norm_eps = eps,
      .bias = false,
      .text = {{"ff_context.linear_in.gate", "ff_context.linear_in.up"}, "ff_context.linear_out"},
      .image = {{"ff.linear_in.gate", "ff.linear_in.up"}, "ff.linear_out"}};
}

SingleBlockSizes TransformerConfig::single_block() const {
  return {.heads = heads, .head_dim = head_dim, .intermediate = intermediate(), .eps = eps};
}

Expected<TransformerConfig> parse_transformer_config(const JsonConfig& json) {
  const KeyedConfig keyed{json, transformer_keys()};
  INTAGLIO_TRY(check_config_keys({&keyed, 1}));
  INTAGLIO_TRY(check_quantization(json));
  TransformerConfig config;
  INTAGLIO_ASSIGN(config.layers, json.integer("num_layers", 1, kMaxLayers));
  INTAGLIO_ASSIGN(config.single_layers, json.integer("num_single_layers", 1, kMaxLayers));
  INTAGLIO_ASSIGN(config.heads, json.integer("num_attention_heads", 1, kMaxWidth));
  INTAGLIO_ASSIGN(config.head_dim, json.integer("attention_head_dim", 2, 1024));
  INTAGLIO_ASSIGN(config.channels, json.integer("in_channels", 1, kMaxWidth));
  INTAGLIO_ASSIGN(config.text_dim, json.integer("joint_attention_dim", 1, kMaxWidth));
  INTAGLIO_ASSIGN(config.mlp_ratio, json.number_or("mlp_ratio", 3.0));
  INTAGLIO_ASSIGN(config.time_frequencies,
                  json.integer_or("timestep_guidance_channels", 256, 2, kMaxWidth));
  INTAGLIO_ASSIGN(config.rope_theta, read_theta(json));
  INTAGLIO_ASSIGN(config.eps, read_eps(json, "eps", 1e-6));
  INTAGLIO_TRY(check_out_channels(json, config.channels));
  if (config.width() > kMaxWidth) {
    return make_error(ErrorCode::kBadFormat,
                      "{}num_attention_heads {} x attention_head_dim {}: expected at most {}",
                      json.where(), config.heads, config.head_dim, kMaxWidth);
  }
  if (config.head_dim % 2 != 0 || config.time_frequencies % 2 != 0) {
    return make_error(ErrorCode::kBadFormat,
                      "{}attention_head_dim {}, timestep_guidance_channels {}: expected even "
                      "numbers",
                      json.where(), config.head_dim, config.time_frequencies);
  }
  if (!(config.mlp_ratio > 0.0 && config.mlp_ratio <= 64.0 && config.intermediate() >= 1)) {
    return make_error(ErrorCode::kBadFormat, "{}mlp_ratio: expected a number in (0, 64], found {}",
                      json.where(), config.mlp_ratio);
  }
  INTAGLIO_ASSIGN(config.axes, read_axes(json, config.head_dim));
  return config;
}

TransformerConfig published_config(bool large) {
  TransformerConfig config;
  config.layers = large ? 8 : 5;
  config.single_layers = large ? 24 : 20;
  config.heads = large ? 32 : 24;
  config.head_dim = 128;
  config.channels = 128;
  config.text_dim = large ? 12288 : 7680;
  config.mlp_ratio = 3.0;
  config.time_frequencies = 256;
  config.axes = {32, 32, 32, 32};
  config.rope_theta = 2000.0;
  config.eps = 1e-6f;
  return config;
}

}  // namespace intaglio::flux2_klein
