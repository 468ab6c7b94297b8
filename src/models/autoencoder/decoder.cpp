#include "models/autoencoder/decoder.h"

#include <fmt/format.h>

#include "models/autoencoder/decoder_weights.h"
#include "models/autoencoder/layer_loader.h"
#include "models/autoencoder/module_names.h"
#include "models/parts/weights.h"

namespace intaglio::autoencoder {
namespace {

// Channels behind the upsampler of a block.
int64_t block_width_behind(const DecoderConfig& config, int64_t width) {
  return config.family == DecoderFamily::kWan ? width / 2 : width;
}

Status load_decoder(LayerLoader& loader, DecoderWeights& weights) {
  const DecoderConfig& c = loader.config();
  const int64_t widest = c.widths.back();
  INTAGLIO_TRY(loader.load_statistics(weights.statistics));
  if (c.post_quant_conv)
    INTAGLIO_TRY(loader.load_conv("post_quant_conv", c.latent_channels, c.latent_channels, 1,
                                  weights.post_quant.emplace()));
  INTAGLIO_TRY(loader.load_conv("decoder.conv_in", c.latent_channels, widest, 3, weights.conv_in));
  INTAGLIO_TRY(loader.load_mid_block("decoder.mid_block", widest, weights.mid));
  weights.up.resize(c.widths.size());
  int64_t channels = widest;
  for (size_t i = 0; i < weights.up.size(); ++i) {
    const int64_t width = c.widths[c.widths.size() - 1 - i];
    DecoderWeights::UpBlock& block = weights.up[i];
    const std::string name = fmt::format("decoder.up_blocks.{}", i);
    block.resnets.resize(static_cast<size_t>(c.layers_per_block + 1));
    for (size_t j = 0; j < block.resnets.size(); ++j) {
      INTAGLIO_TRY(loader.load_resnet(fmt::format("{}.resnets.{}", name, j), channels, width,
                                      block.resnets[j]));
      channels = width;
    }
    if (i + 1 == weights.up.size()) break;
    channels = block_width_behind(c, width);
    INTAGLIO_TRY(loader.load_conv2d(
        name + (loader.is_wan() ? ".upsamplers.0.resample.1" : ".upsamplers.0.conv"), width,
        channels, 3, true, block.upsampler.emplace()));
  }
  INTAGLIO_TRY(loader.load_norm(loader.is_wan() ? "decoder.norm_out" : "decoder.conv_norm_out",
                                channels, weights.norm_out));
  return loader.load_conv("decoder.conv_out", channels, 3, 3, weights.conv_out);
}

}  // namespace

Expected<DecoderWeights> describe_decoder(const Context& context, const DecoderConfig& config,
                                          DType compute) {
  DecoderWeights weights;
  LayerLoader shapes(context, config, compute, LayerLoader::Mode::kShapes);
  INTAGLIO_TRY(load_decoder(shapes, weights));
  return weights;
}

namespace {

// An AutoencoderKL applies post_quant_conv if its file has one, whatever its config says.
DecoderConfig as_stored(DecoderConfig config, const Checkpoint& checkpoint,
                        const ModuleNames& names) {
  if (!config.batch_norm && names.are_in(checkpoint, "post_quant_conv"))
    config.post_quant_conv = true;
  return config;
}

// `names` is read as long as the source is there.
Expected<std::shared_ptr<CheckpointSource>> open_source(
    const std::shared_ptr<const Checkpoint>& checkpoint, const DecoderConfig& said,
    const ModuleNames& names) {
  const DecoderConfig config = as_stored(said, *checkpoint, names);
  INTAGLIO_ASSIGN(std::shared_ptr<CheckpointSource> source,
                  CheckpointSource::open(checkpoint, names.aliases()));
  const auto blocks = static_cast<int64_t>(config.widths.size());
  if (config.family == DecoderFamily::kWan) {
    INTAGLIO_TRY(source->refuse_layers_beyond("decoder.upsamples.", names.upsamples(),
                                              "blocks of dim_mult and num_res_blocks"));
    INTAGLIO_TRY(source->refuse_layers_beyond("decoder.up_blocks.", blocks, "dim_mult"));
  } else {
    for (const char* const up : {"decoder.up_blocks.", "decoder.up."})
      INTAGLIO_TRY(source->refuse_layers_beyond(up, blocks, "block_out_channels"));
  }
  for (int64_t i = 0; i < blocks; ++i) {
    for (const std::string& resnets :
         {fmt::format("decoder.up_blocks.{}.resnets.", i), fmt::format("decoder.up.{}.block.", i)})
      INTAGLIO_TRY(source->refuse_layers_beyond(
          resnets, config.layers_per_block + 1,
          config.family == DecoderFamily::kWan ? "num_res_blocks + 1" : "layers_per_block + 1"));
  }
  if (!config.mid_attention)
    INTAGLIO_TRY(names.refuse(*checkpoint, "decoder.mid_block.attentions.0.to_q",
                              "mid_block_add_attention"));
  if (!config.post_quant_conv)
    INTAGLIO_TRY(names.refuse(*checkpoint, "post_quant_conv", "use_post_quant_conv"));
  INTAGLIO_TRY(source->check(decoder_tensor_shapes(config)));
  return source;
}

}  // namespace

Status check_decoder_weights(const std::shared_ptr<const Checkpoint>& checkpoint,
                             const DecoderConfig& said) {
  const ModuleNames names(said);
  return open_source(checkpoint, said, names).map([](const auto&) {});
}

TensorShapes decoder_tensor_shapes(const DecoderConfig& config) {
  DecoderWeights weights;
  const Context no_device;
  LayerLoader declare(no_device, config, DType::kF32, LayerLoader::Mode::kDeclare);
  // It reads nothing and allocates nothing, so it cannot fail.
  static_cast<void>(load_decoder(declare, weights));
  return declare.declared();
}

uint64_t decoder_weight_bytes(const DecoderConfig& config, DType compute) {
  return packed_bytes(decoder_tensor_shapes(config), compute);
}

DType Decoder::compute_dtype(const Context& context, const LayerSelection& selection) {
  if (selection.precision == Precision::kFp32) return DType::kF32;
  const bool pays = context.gpu != nullptr ? context.gpu->compute_capability >= 80
                                           : context.cpu.amx_bf16 || context.cpu.fast_bf16_dot;
  return pays ? DType::kBF16 : DType::kF32;
}

Status Decoder::read_weights(const Context& context, TensorSource& source) {
  INTAGLIO_TRY(source.check(decoder_tensor_shapes(config_)));
  auto weights = std::make_shared<DecoderWeights>();
  LayerLoader loader(context, config_, compute_, LayerLoader::Mode::kPrepare, &source);
  INTAGLIO_TRY(load_decoder(loader, *weights));
  weights_ = std::move(weights);
  return {};
}

Expected<Decoder> Decoder::load(const Context& context, const PartFiles& files, DType compute) {
  INTAGLIO_ASSIGN(const StoredAutoencoder stored, open_stored(files, compute));
  Decoder decoder;
  decoder.compute_ = compute;
  const ModuleNames names(stored.config);
  decoder.config_ = as_stored(stored.config, *stored.checkpoint, names);
  INTAGLIO_ASSIGN(const std::shared_ptr<CheckpointSource> source,
                  open_source(stored.checkpoint, decoder.config_, names));
  INTAGLIO_TRY(decoder.read_weights(context, *source));
  return decoder;
}

Expected<Decoder> Decoder::synthetic(const Context& context, const DecoderConfig& config,
                                     DType compute, uint64_t seed) {
  Decoder decoder;
  decoder.compute_ = compute;
  decoder.config_ = config;
  SyntheticSource source(seed, context.cancel);
  INTAGLIO_TRY(decoder.read_weights(context, source));
  return decoder;
}

Status Decoder::denormalize_and_unpack(const float* x, int64_t grid_h, int64_t grid_w,
                                       float* latent) const {
  if (grid_h < 1 || grid_w < 1)
    return make_error(ErrorCode::kInvalidArgument, "VAE: a grid of {} x {} tokens", grid_h, grid_w);
  const int64_t channels = config_.latent_channels;
  // Planes one after the other: writes are contiguous, and reads stay within a row of tokens.
  for (int64_t plane = 0; plane < channels; ++plane) {
    for (int64_t y = 0; y < 2 * grid_h; ++y) {
      float* const line = latent + (plane * 2 * grid_h + y) * 2 * grid_w;
      for (int64_t column = 0; column < 2 * grid_w; ++column) {
        const int64_t token = y / 2 * grid_w + column / 2;
        const int64_t i = packed_channel(config_.packing, y, column, plane, channels);
        line[column] =
            x[token * 4 * channels + i] * weights_->statistics.scale[static_cast<size_t>(i)] +
            weights_->statistics.shift[static_cast<size_t>(i)];
      }
    }
  }
  return {};
}

}  // namespace intaglio::autoencoder
