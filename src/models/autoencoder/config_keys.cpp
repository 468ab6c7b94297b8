#include "models/autoencoder/config_keys.h"

#include "models/autoencoder/decoder.h"
#include "models/parts/config_notes.h"

namespace intaglio::autoencoder {
namespace {

using enum KeyRole;

// Of both classes of AutoencoderKL; only the decoder is run.
ConfigTable common_table() {
  return with_notes({{"latent_channels"},
                     {"block_out_channels"},
                     {"layers_per_block"},
                     {"norm_num_groups"},
                     {"mid_block_add_attention"},
                     {"use_post_quant_conv"},
                     {"up_block_types"},
                     {"act_fn", kOnly, kSilu},
                     {"out_channels", kOnly, "[3]"},
                     {"norm_type", kOnly, R"(["group", "group_norm"])"},
                     {"norm_eps", kOnly, "[1e-6]"},
                     {"mid_block_type", kOnly, R"(["UNetMidBlock2D"])"},
                     {"down_block_types", kHarmless},
                     {"in_channels", kHarmless},
                     {"sample_size", kHarmless},
                     {"force_upcast", kHarmless},
                     {"use_quant_conv", kHarmless}});
}

ConfigTable joined(ConfigTable table, const ConfigTable& more) {
  table.insert(table.end(), more.begin(), more.end());
  return table;
}

const ConfigTable& flux2_table() {
  constexpr std::string_view kScaled = "latents are scaled by the batch norm's statistics";
  constexpr std::string_view kShifted = "latents are shifted by the batch norm's statistics";
  static const ConfigTable table =
      joined({{"_class_name", kOnly, R"(["AutoencoderKLFlux2", "AutoencoderKL"])"},
              {"decoder_block_out_channels"},
              {"batch_norm_eps"},
              {"patch_size", kOnly, "[[2, 2], 2]"},
              {"scaling_factor", kOnly, "[1]", kScaled},
              {"shift_factor", kOnly, "[0]", kShifted},
              {"latents_mean", kOnly, kNull, kShifted},
              {"latents_std", kOnly, kNull, kScaled},
              {"batch_norm_momentum", kHarmless}},
             common_table());
  return table;
}

const ConfigTable& kl_table() {
  constexpr std::string_view kScalars = "latents are scaled and shifted by two numbers";
  static const ConfigTable table = joined({{"_class_name"},
                                           {"scaling_factor"},
                                           {"shift_factor"},
                                           {"latents_mean", kOnly, kNull, kScalars},
                                           {"latents_std", kOnly, kNull, kScalars}},
                                          common_table());
  return table;
}

// What concerns the time axis and the encoder changes no picture.
const ConfigTable& wan_table() {
  static const ConfigTable table = with_notes({{"_class_name"},
                                               {"base_dim"},
                                               {"z_dim"},
                                               {"dim_mult"},
                                               {"num_res_blocks"},
                                               {"latents_mean"},
                                               {"latents_std"},
                                               {"attn_scales", kOnly, "[[]]"},
                                               {"input_channels", kOnly, "[3]"},
                                               {"out_channels", kOnly, "[3]"},
                                               {"is_residual", kOnly, kFalse},
                                               {"decoder_base_dim", kOnly, kNull},
                                               {"patch_size", kOnly, kNull},
                                               {"temperal_downsample", kHarmless},
                                               {"dropout", kHarmless},
                                               {"scale_factor_temporal", kHarmless},
                                               {"scale_factor_spatial", kHarmless},
                                               {"in_channels", kHarmless}});
  return table;
}

}  // namespace

std::vector<KeyedConfig> keyed_config(const JsonConfig& config) {
  const Expected<std::string> name = config.string_or("_class_name", "");
  if (name && *name == kWanClass) return {{config, wan_table()}};
  return {{config, name && *name == kKlClass ? kl_table() : flux2_table()}};
}

}  // namespace intaglio::autoencoder
