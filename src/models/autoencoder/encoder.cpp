#include "models/autoencoder/encoder.h"

#include <fmt/format.h>

#include <algorithm>

#include "models/autoencoder/encoder_weights.h"
#include "models/autoencoder/layer_loader.h"
#include "models/autoencoder/module_names.h"

namespace intaglio::autoencoder {
namespace {

Status load_down_blocks(LayerLoader& loader, std::vector<EncoderWeights::DownBlock>& down) {
  const DecoderConfig& c = loader.config();
  down.resize(c.encoder_widths().size());
  int64_t channels = c.encoder_width_in();
  int64_t entry = 0;  // of kWan, which counts resnets and downsamplers in one list
  for (size_t i = 0; i < down.size(); ++i) {
    const int64_t width = c.encoder_widths()[i];
    down[i].resnets.resize(static_cast<size_t>(c.layers_per_block));
    for (size_t j = 0; j < down[i].resnets.size(); ++j) {
      const std::string name = loader.is_wan()
                                   ? fmt::format("encoder.down_blocks.{}", entry++)
                                   : fmt::format("encoder.down_blocks.{}.resnets.{}", i, j);
      INTAGLIO_TRY(loader.load_resnet(name, channels, width, down[i].resnets[j]));
      channels = width;
    }
    if (i + 1 == down.size()) break;
    const std::string name = loader.is_wan()
                                 ? fmt::format("encoder.down_blocks.{}.resample.1", entry++)
                                 : fmt::format("encoder.down_blocks.{}.downsamplers.0.conv", i);
    INTAGLIO_TRY(loader.load_conv2d(name, width, width, 3, false, down[i].downsampler.emplace()));
  }
  return {};
}

Status load_encoder(LayerLoader& loader, EncoderWeights& weights) {
  const DecoderConfig& c = loader.config();
  const int64_t widest = c.encoder_widths().back(), moments = 2 * c.latent_channels;
  INTAGLIO_TRY(loader.load_statistics(weights.statistics));
  INTAGLIO_TRY(loader.load_conv("encoder.conv_in", 3, c.encoder_width_in(), 3, weights.conv_in));
  INTAGLIO_TRY(load_down_blocks(loader, weights.down));
  INTAGLIO_TRY(loader.load_mid_block("encoder.mid_block", widest, weights.mid));
  INTAGLIO_TRY(loader.load_norm(loader.is_wan() ? "encoder.norm_out" : "encoder.conv_norm_out",
                                widest, weights.norm_out));
  INTAGLIO_TRY(loader.load_conv("encoder.conv_out", widest, moments, 3, weights.conv_out));
  if (!c.quant_conv) return {};
  return loader.load_conv("quant_conv", moments, moments, 1, weights.quant.emplace());
}

// An AutoencoderKL applies quant_conv if its file has one, whatever its config says.
DecoderConfig as_stored(DecoderConfig config, const Checkpoint& checkpoint,
                        const ModuleNames& names) {
  if (!config.batch_norm && names.are_in(checkpoint, "quant_conv")) config.quant_conv = true;
  return config;
}

bool has_encoder(const Checkpoint& checkpoint) {
  const auto is_of_encoder = [](const TensorEntry& entry) {
    return entry.name.starts_with("encoder.");
  };
  return std::any_of(checkpoint.files().begin(), checkpoint.files().end(), [&](const auto& file) {
    return std::any_of(file->tensors().begin(), file->tensors().end(), is_of_encoder);
  });
}

// `names` is read as long as the source is there.
Expected<std::shared_ptr<CheckpointSource>> open_source(
    const std::shared_ptr<const Checkpoint>& checkpoint, const DecoderConfig& said,
    const ModuleNames& names) {
  const DecoderConfig config = as_stored(said, *checkpoint, names);
  if (!has_encoder(*checkpoint))
    return make_error(ErrorCode::kUnsupported,
                      "{}: holds no encoder (no tensor \"encoder...\"), so no picture can begin "
                      "from another; expected both halves of the {}, as its publishers' vae folder "
                      "has them",
                      checkpoint->path().string(), config.class_name());
  if (!config.encoder_refusal.empty())
    return make_error(ErrorCode::kUnsupported, "{}", config.encoder_refusal);
  INTAGLIO_ASSIGN(std::shared_ptr<CheckpointSource> source,
                  CheckpointSource::open(checkpoint, names.aliases()));
  const bool is_wan = config.family == DecoderFamily::kWan;
  const auto blocks = static_cast<int64_t>(config.encoder_widths().size());
  const int64_t entries = blocks * (config.layers_per_block + 1) - 1;
  for (const char* const list : {"encoder.down_blocks.", "encoder.down.", "encoder.downsamples."})
    INTAGLIO_TRY(source->refuse_layers_beyond(
        list, is_wan ? entries : blocks,
        is_wan ? "blocks of dim_mult and num_res_blocks" : "block_out_channels"));
  for (int64_t i = 0; i < blocks; ++i) {
    for (const std::string& resnets : {fmt::format("encoder.down_blocks.{}.resnets.", i),
                                       fmt::format("encoder.down.{}.block.", i)})
      INTAGLIO_TRY(
          source->refuse_layers_beyond(resnets, config.layers_per_block, "layers_per_block"));
  }
  if (!config.mid_attention)
    INTAGLIO_TRY(names.refuse(*checkpoint, "encoder.mid_block.attentions.0.to_q",
                              "mid_block_add_attention"));
  if (!config.quant_conv) INTAGLIO_TRY(names.refuse(*checkpoint, "quant_conv", "use_quant_conv"));
  INTAGLIO_TRY(source->check(encoder_tensor_shapes(config)));
  return source;
}

}  // namespace

Expected<EncoderWeights> describe_encoder(const Context& context, const DecoderConfig& config,
                                          DType compute) {
  EncoderWeights weights;
  LayerLoader shapes(context, config, compute, LayerLoader::Mode::kShapes);
  INTAGLIO_TRY(load_encoder(shapes, weights));
  return weights;
}

Status check_encoder_weights(const std::shared_ptr<const Checkpoint>& checkpoint,
                             const DecoderConfig& said) {
  const ModuleNames names(said);
  return open_source(checkpoint, said, names).map([](const auto&) {});
}

TensorShapes encoder_tensor_shapes(const DecoderConfig& config) {
  EncoderWeights weights;
  const Context no_device;
  LayerLoader declare(no_device, config, DType::kF32, LayerLoader::Mode::kDeclare);
  // It reads nothing and allocates nothing, so it cannot fail.
  static_cast<void>(load_encoder(declare, weights));
  return declare.declared();
}

uint64_t encoder_weight_bytes(const DecoderConfig& config, DType compute) {
  return packed_bytes(encoder_tensor_shapes(config), compute);
}

Status Encoder::read_weights(const Context& context, TensorSource& source) {
  INTAGLIO_TRY(source.check(encoder_tensor_shapes(config_)));
  auto weights = std::make_shared<EncoderWeights>();
  LayerLoader loader(context, config_, compute_, LayerLoader::Mode::kPrepare, &source);
  INTAGLIO_TRY(load_encoder(loader, *weights));
  weights_ = std::move(weights);
  return {};
}

Expected<Encoder> Encoder::load(const Context& context, const PartFiles& files, DType compute) {
  INTAGLIO_ASSIGN(const StoredAutoencoder stored, open_stored(files, compute));
  Encoder encoder;
  encoder.compute_ = compute;
  const ModuleNames names(stored.config);
  encoder.config_ = as_stored(stored.config, *stored.checkpoint, names);
  INTAGLIO_ASSIGN(const std::shared_ptr<CheckpointSource> source,
                  open_source(stored.checkpoint, encoder.config_, names));
  INTAGLIO_TRY(encoder.read_weights(context, *source));
  return encoder;
}

Expected<Encoder> Encoder::synthetic(const Context& context, const DecoderConfig& config,
                                     DType compute, uint64_t seed) {
  Encoder encoder;
  encoder.compute_ = compute;
  encoder.config_ = config;
  SyntheticSource source(seed, context.cancel);
  INTAGLIO_TRY(encoder.read_weights(context, source));
  return encoder;
}

Status Encoder::pack_and_normalize(const float* latent, int64_t grid_h, int64_t grid_w,
                                   float* x) const {
  if (grid_h < 1 || grid_w < 1)
    return make_error(ErrorCode::kInvalidArgument, "VAE: a grid of {} x {} tokens", grid_h, grid_w);
  const int64_t channels = config_.latent_channels;
  const LatentStatistics& statistics = weights_->statistics;
  for (int64_t plane = 0; plane < channels; ++plane) {
    for (int64_t y = 0; y < 2 * grid_h; ++y) {
      const float* const line = latent + (plane * 2 * grid_h + y) * 2 * grid_w;
      for (int64_t column = 0; column < 2 * grid_w; ++column) {
        const int64_t token = y / 2 * grid_w + column / 2;
        const int64_t i = packed_channel(config_.packing, y, column, plane, channels);
        x[token * 4 * channels + i] = (line[column] - statistics.shift[static_cast<size_t>(i)]) /
                                      statistics.scale[static_cast<size_t>(i)];
      }
    }
  }
  return {};
}

}  // namespace intaglio::autoencoder
