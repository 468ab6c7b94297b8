#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "models/autoencoder/config_keys.h"
#include "models/autoencoder/decoder.h"

namespace intaglio::autoencoder {
namespace {

// One up block a width, of resnets and an upsampler.
Status check_up_blocks(const JsonConfig& json, size_t widths) {
  if (!json.contains("up_block_types")) return {};
  const nlohmann::json& types = json.json().at("up_block_types");
  const auto is_plain = [](const nlohmann::json& type) { return type == "UpDecoderBlock2D"; };
  if (types.is_array() && types.size() == widths &&
      std::all_of(types.begin(), types.end(), is_plain))
    return {};
  return make_error(ErrorCode::kUnsupported,
                    "{}up_block_types: supported is one UpDecoderBlock2D for each of the {} widths",
                    json.where(), widths);
}

std::string refusal_of_down_blocks(const JsonConfig& json) {
  if (!json.contains("down_block_types")) return {};
  const nlohmann::json& types = json.json().at("down_block_types");
  const auto is_plain = [](const nlohmann::json& type) { return type == "DownEncoderBlock2D"; };
  if (types.is_array() && std::all_of(types.begin(), types.end(), is_plain)) return {};
  return json.where() + "down_block_types: supported is DownEncoderBlock2D alone";
}

Expected<DecoderConfig> parse_kl_config(const JsonConfig& json, const std::string& name) {
  DecoderConfig config;
  const bool own_widths = json.contains("decoder_block_out_channels");
  INTAGLIO_ASSIGN(config.latent_channels, json.integer("latent_channels", 1, 4096));
  INTAGLIO_ASSIGN(config.widths, json.integers("block_out_channels", 1, 16384, 8));
  config.encoder_refusal = refusal_of_down_blocks(json);
  if (own_widths) {
    // The pipeline counts pixels a latent by the encoder's widths.
    INTAGLIO_ASSIGN(const std::vector<int64_t> own,
                    json.integers("decoder_block_out_channels", 1, 16384, 8));
    if (own.size() != config.widths.size())
      return make_error(ErrorCode::kUnsupported,
                        "{}decoder_block_out_channels has {} widths, block_out_channels has {}; "
                        "supported is the same number",
                        json.where(), own.size(), config.widths.size());
    config.own_encoder_widths = std::exchange(config.widths, own);
  }
  INTAGLIO_ASSIGN(config.layers_per_block, json.integer("layers_per_block", 1, 64));
  INTAGLIO_ASSIGN(config.norm_groups, json.integer("norm_num_groups", 1, 16384));
  config.batch_norm = name == kFlux2Class;
  INTAGLIO_ASSIGN(config.batch_norm_eps, json.number_or("batch_norm_eps", 1e-4));
  INTAGLIO_ASSIGN(config.scaling_factor, json.number_or("scaling_factor", 1.0));
  INTAGLIO_ASSIGN(config.shift_factor, json.number_or("shift_factor", 0.0));
  if (!(config.scaling_factor > 0.0))
    return make_error(ErrorCode::kBadFormat,
                      "{}scaling_factor: expected a positive number, found {}", json.where(),
                      config.scaling_factor);
  INTAGLIO_ASSIGN(config.mid_attention, json.boolean_or("mid_block_add_attention", true));
  INTAGLIO_ASSIGN(config.post_quant_conv, json.boolean_or("use_post_quant_conv", true));
  INTAGLIO_ASSIGN(config.quant_conv, json.boolean_or("use_quant_conv", true));
  if (config.widths.empty())
    return make_error(ErrorCode::kBadFormat, "{}block_out_channels: no block widths", json.where());
  if (!(config.batch_norm_eps >= 0.0))
    return make_error(ErrorCode::kBadFormat, "{}batch_norm_eps: expected 0 or more, found {}",
                      json.where(), config.batch_norm_eps);
  INTAGLIO_TRY(check_up_blocks(json, config.widths.size()));
  for (const int64_t width : config.encoder_widths()) {
    if (width % config.norm_groups != 0 && config.encoder_refusal.empty())
      config.encoder_refusal =
          fmt::format("{}norm_num_groups: a block of {} channels does not divide into {} groups",
                      json.where(), width, config.norm_groups);
  }
  for (const int64_t width : config.widths) {
    if (width % config.norm_groups != 0) {
      return make_error(ErrorCode::kBadFormat,
                        "{}norm_num_groups: a block of {} channels does not divide into {} groups",
                        json.where(), width, config.norm_groups);
    }
  }
  return config;
}

// A number for each latent channel.
Expected<std::vector<float>> read_statistics(const JsonConfig& json, const char* key,
                                             int64_t channels) {
  const nlohmann::json& list = json.contains(key) ? json.json().at(key) : nlohmann::json();
  const auto is_number = [](const nlohmann::json& value) { return value.is_number(); };
  if (!list.is_array() || list.size() != static_cast<size_t>(channels) ||
      !std::all_of(list.begin(), list.end(), is_number)) {
    return make_error(ErrorCode::kBadFormat, "{}{}: expected {} numbers, as many as z_dim",
                      json.where(), key, channels);
  }
  return list.get<std::vector<float>>();
}

Expected<DecoderConfig> parse_wan_config(const JsonConfig& json) {
  DecoderConfig config{.family = DecoderFamily::kWan};
  config.batch_norm = false;
  config.packing = LatentPacking::kChannelSlowest;
  INTAGLIO_ASSIGN(config.latent_channels, json.integer("z_dim", 1, 4096));
  INTAGLIO_ASSIGN(const int64_t base, json.integer("base_dim", 1, 16384));
  INTAGLIO_ASSIGN(const std::vector<int64_t> factors, json.integers("dim_mult", 1, 64, 8));
  INTAGLIO_ASSIGN(config.layers_per_block, json.integer("num_res_blocks", 1, 64));
  if (factors.empty())
    return make_error(ErrorCode::kBadFormat, "{}dim_mult: no block widths", json.where());
  for (const int64_t factor : factors) {
    const int64_t width = base * factor;
    // The block behind an upsampler starts with half of its width.
    if (width % 2 != 0 && !config.widths.empty()) {
      return make_error(ErrorCode::kBadFormat,
                        "{}dim_mult: a block of {} channels does not divide into halves",
                        json.where(), width);
    }
    config.widths.push_back(width);
  }
  config.own_encoder_width_in = base;
  INTAGLIO_ASSIGN(config.latents_mean,
                  read_statistics(json, "latents_mean", config.latent_channels));
  INTAGLIO_ASSIGN(config.latents_std, read_statistics(json, "latents_std", config.latent_channels));
  for (const float deviation : config.latents_std)
    if (!(deviation > 0.0f))
      return make_error(ErrorCode::kBadFormat, "{}latents_std: expected positive numbers, found {}",
                        json.where(), deviation);
  return config;
}

}  // namespace

DecoderConfig flux2_config() {
  DecoderConfig config;
  config.latent_channels = 32;
  config.widths = {128, 256, 512, 512};
  config.layers_per_block = 2;
  config.norm_groups = 32;
  config.batch_norm_eps = 1e-4;
  return config;
}

DecoderConfig qwen_image_config() {
  DecoderConfig config;
  config.family = DecoderFamily::kWan;
  config.latent_channels = 16;
  config.widths = {96, 192, 384, 384};
  config.layers_per_block = 2;
  config.batch_norm = false;
  config.latents_mean.assign(16, 0.0f);
  config.latents_std.assign(16, 1.0f);
  config.packing = LatentPacking::kChannelSlowest;
  return config;
}

Status check_latents(const DecoderConfig& config, std::string_view class_name, int64_t channels,
                     const std::string& where) {
  if (config.class_name() != class_name) {
    return make_error(ErrorCode::kBadFormat,
                      "{}: the VAE is an {}, the transformer's latents are those of an {}", where,
                      config.class_name(), class_name);
  }
  if (config.latent_channels * 4 != channels) {
    return make_error(ErrorCode::kBadFormat,
                      "{}: the transformer has {} channels a token, the VAE packs {} (2 x 2 x {})",
                      where, channels, config.latent_channels * 4, config.latent_channels);
  }
  return {};
}

Expected<DecoderConfig> parse_decoder_config(const JsonConfig& json) {
  INTAGLIO_TRY(check_config_keys(keyed_config(json)));
  INTAGLIO_ASSIGN(const std::string name, json.string_or("_class_name", kFlux2Class));
  return name == kWanClass ? parse_wan_config(json) : parse_kl_config(json, name);
}

}  // namespace intaglio::autoencoder
