#include "models/autoencoder/config_keys.h"

#include "models/parts/config_notes.h"

namespace intaglio::autoencoder {
namespace {

using enum KeyRole;

// AutoencoderKLFlux2; only the decoder is run.
const ConfigTable& vae_table() {
  static const ConfigTable table = with_notes(
      {{"_class_name", kOnly, R"(["AutoencoderKLFlux2"])"},
       {"latent_channels"},
       {"block_out_channels"},
       {"decoder_block_out_channels"},
       {"layers_per_block"},
       {"norm_num_groups"},
       {"batch_norm_eps"},
       {"mid_block_add_attention"},
       {"use_post_quant_conv"},
       {"up_block_types"},
       {"act_fn", kOnly, kSilu},
       {"out_channels", kOnly, "[3]"},
       {"patch_size", kOnly, "[[2, 2], 2]"},
       {"scaling_factor", kOnly, "[1]", "latents are scaled by the batch norm's statistics"},
       {"shift_factor", kOnly, "[0]", "latents are shifted by the batch norm's statistics"},
       {"latents_mean", kOnly, kNull, "latents are shifted by the batch norm's statistics"},
       {"latents_std", kOnly, kNull, "latents are scaled by the batch norm's statistics"},
       {"norm_type", kOnly, R"(["group", "group_norm"])"},
       {"norm_eps", kOnly, "[1e-6]"},
       {"mid_block_type", kOnly, R"(["UNetMidBlock2D"])"},
       {"down_block_types", kHarmless},
       {"in_channels", kHarmless},
       {"sample_size", kHarmless},
       {"force_upcast", kHarmless},
       {"use_quant_conv", kHarmless},
       {"batch_norm_momentum", kHarmless}});
  return table;
}

}  // namespace

std::vector<KeyedConfig> keyed_config(const JsonConfig& config) { return {{config, vae_table()}}; }

}  // namespace intaglio::autoencoder
