#include "models/z_image/config.h"

#include <nlohmann/json.hpp>

#include "models/parts/config_values.h"
#include "models/z_image/config_keys.h"

namespace intaglio::z_image {
namespace {

constexpr float kQkNormEps = 1e-5f;  // whatever norm_eps

// "all_patch_size" and "all_f_patch_size" list one size each.
Status check_patches(const JsonConfig& json) {
  for (const auto& [key, size] : {std::pair{"all_patch_size", 2}, {"all_f_patch_size", 1}}) {
    if (!json.contains(key) || json.json().at(key) == nlohmann::json::array({size})) continue;
    return make_error(ErrorCode::kUnsupported, "{}{}: supported is [{}]", json.where(), key, size);
  }
  return {};
}

}  // namespace

GatedBlockSizes TransformerConfig::block() const {
  return {.heads = heads,
          .head_dim = head_dim(),
          .intermediate = intermediate(),
          .norm_eps = norm_eps,
          .qk_norm_eps = kQkNormEps,
          .pairing = RopePairing::kAdjacent};
}

Expected<TransformerConfig> parse_transformer_config(const JsonConfig& json) {
  const KeyedConfig keyed{json, transformer_keys()};
  INTAGLIO_TRY(check_config_keys({&keyed, 1}));
  INTAGLIO_TRY(check_quantization(json));
  INTAGLIO_TRY(check_patches(json));
  TransformerConfig config;
  INTAGLIO_ASSIGN(config.layers, json.integer("n_layers", 1, kMaxLayers));
  INTAGLIO_ASSIGN(config.refiners, json.integer_or("n_refiner_layers", 2, 1, kMaxLayers));
  INTAGLIO_ASSIGN(config.heads, json.integer("n_heads", 1, kMaxWidth));
  INTAGLIO_ASSIGN(config.width, json.integer("dim", 1, kMaxWidth));
  INTAGLIO_ASSIGN(const int64_t in_channels, json.integer("in_channels", 1, kMaxWidth / 4));
  config.channels = 4 * in_channels;
  INTAGLIO_ASSIGN(config.text_dim, json.integer("cap_feat_dim", 1, kMaxWidth));
  INTAGLIO_ASSIGN(config.rope_theta, read_theta(json));
  INTAGLIO_ASSIGN(config.norm_eps, read_eps(json, "norm_eps", 1e-5));
  INTAGLIO_ASSIGN(config.time_scale, json.number_or("t_scale", 1000.0));
  if (config.width % config.heads != 0 || config.head_dim() % 2 != 0) {
    return make_error(ErrorCode::kBadFormat,
                      "{}dim {} and n_heads {}: expected heads of an even number of channels",
                      json.where(), config.width, config.heads);
  }
  INTAGLIO_ASSIGN(config.axes,
                  read_rope_axes(json, "axes_dims", config.head_dim(), "dim / n_heads"));
  return config;
}

TransformerConfig published_config() {
  TransformerConfig config;
  config.layers = 30;
  config.refiners = 2;
  config.heads = 30;
  config.width = 3840;
  config.channels = 64;
  config.text_dim = 2560;
  config.axes = {32, 48, 48};
  config.rope_theta = 256.0;
  config.norm_eps = 1e-5f;
  config.time_scale = 1000.0;
  return config;
}

}  // namespace intaglio::z_image
