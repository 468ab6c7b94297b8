#include "models/autoencoder/decoder.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/memory.h"
#include "models/autoencoder/decoder_names.h"
#include "models/autoencoder/decoder_weights.h"
#include "models/parts/weights.h"

namespace intaglio::autoencoder {
namespace {

// Channels behind the upsampler of a block.
int64_t block_width_behind(const DecoderConfig& config, int64_t width) {
  return config.family == DecoderFamily::kWan ? width / 2 : width;
}

// Goes through the weights of the decoder by name. kDeclare lists what is needed, so that all
// problems are found before the first tensor is prepared; kShapes needs no tensors.
class Loader {
 public:
  enum class Mode { kShapes, kDeclare, kPrepare };

  Loader(const Context& context, const DecoderConfig& config, DType compute, Mode mode,
         TensorSource* source = nullptr)
      : context_(context),
        config_(config),
        is_wan_(config.family == DecoderFamily::kWan),
        compute_(compute),
        mode_(mode),
        source_(source) {}

  // What kDeclare has gathered.
  const TensorShapes& declared() const { return declared_; }

  Status load(DecoderWeights& weights) {
    const DecoderConfig& c = config_;
    const int64_t widest = c.widths.back();
    INTAGLIO_TRY(load_statistics(weights));
    if (c.post_quant_conv) {
      INTAGLIO_TRY(load_conv("post_quant_conv", c.latent_channels, c.latent_channels, 1, false,
                             weights.post_quant.emplace()));
    }
    INTAGLIO_TRY(
        load_conv("decoder.conv_in", c.latent_channels, widest, 3, false, weights.conv_in));
    weights.mid.resize(2);
    for (size_t i = 0; i < 2; ++i) {
      INTAGLIO_TRY(load_resnet(fmt::format("decoder.mid_block.resnets.{}", i), widest, widest,
                               weights.mid[i]));
    }
    if (c.mid_attention)
      INTAGLIO_TRY(
          load_attention("decoder.mid_block.attentions.0", widest, weights.attention.emplace()));
    weights.up.resize(c.widths.size());
    int64_t channels = widest;
    for (size_t i = 0; i < weights.up.size(); ++i) {
      const int64_t width = c.widths[c.widths.size() - 1 - i];
      DecoderWeights::UpBlock& block = weights.up[i];
      const std::string name = fmt::format("decoder.up_blocks.{}", i);
      block.resnets.resize(static_cast<size_t>(c.layers_per_block + 1));
      for (size_t j = 0; j < block.resnets.size(); ++j) {
        INTAGLIO_TRY(
            load_resnet(fmt::format("{}.resnets.{}", name, j), channels, width, block.resnets[j]));
        channels = width;
      }
      if (i + 1 < weights.up.size()) {
        INTAGLIO_TRY(load_upsampler(name + ".upsamplers.0", width, block.upsampler.emplace()));
        channels = block_width_behind(c, width);
      }
    }
    INTAGLIO_TRY(load_norm(is_wan_ ? "decoder.norm_out" : "decoder.conv_norm_out", channels,
                           weights.norm_out));
    return load_conv("decoder.conv_out", channels, 3, 3, false, weights.conv_out);
  }

 private:
  // The tensor, if weights are being prepared now.
  Expected<std::optional<Tensor>> fetch(const std::string& name, const Shape& shape) {
    if (mode_ == Mode::kDeclare) declared_.emplace_back(name, shape);
    if (mode_ != Mode::kPrepare) return std::nullopt;
    INTAGLIO_TRY(check_cancelled(context_));
    return source_->tensor(name, shape).map([](Tensor&& tensor) {
      return std::optional(std::move(tensor));
    });
  }

  Status fetch_floats(const std::string& name, const Shape& shape, std::vector<float>& out) {
    INTAGLIO_ASSIGN(const std::optional<Tensor> tensor, fetch(name, shape));
    if (!tensor) return {};
    out.resize(static_cast<size_t>(shape.count()));
    convert_to_f32(tensor->view.data, tensor->view.dtype, out.data(), out.size());
    return {};
  }

  // The same in memory of the device.
  Status fetch_vector(const std::string& name, const Shape& shape, AlignedBuffer& out) {
    std::vector<float> values;
    INTAGLIO_TRY(fetch_floats(name, shape, values));
    INTAGLIO_ASSIGN(out, upload(context_, values));
    return {};
  }

  Status load_statistics(DecoderWeights& weights) {
    std::vector<float> variance;
    const int64_t count = 4 * config_.latent_channels;
    if (is_wan_) {
      for (int64_t i = 0; i < count; ++i) {
        const auto plane = static_cast<size_t>(i / 4);  // packed with the channel slowest
        weights.latent_scale.push_back(config_.latents_std[plane]);
        weights.latent_shift.push_back(config_.latents_mean[plane]);
      }
      return {};
    }
    if (!config_.batch_norm) {
      const auto values = static_cast<size_t>(count);
      weights.latent_scale.assign(values, static_cast<float>(1.0 / config_.scaling_factor));
      weights.latent_shift.assign(values, static_cast<float>(config_.shift_factor));
      return {};
    }
    INTAGLIO_TRY(fetch_floats("bn.running_mean", {count}, weights.latent_shift));
    INTAGLIO_TRY(fetch_floats("bn.running_var", {count}, variance));
    for (size_t i = 0; i < variance.size(); ++i) {
      const double v = static_cast<double>(variance[i]) + config_.batch_norm_eps;
      if (!(v >= 0.0))
        return make_error(ErrorCode::kBadFormat,
                          "vae: bn.running_var[{}] is {}, expected 0 or more", i, variance[i]);
      weights.latent_scale.push_back(static_cast<float>(std::sqrt(v)));
    }
    return {};
  }

  Status load_norm(const std::string& name, int64_t channels, DecoderWeights::Norm& norm) {
    // A norm of a video: [channels, frame, row, column].
    if (is_wan_) return fetch_vector(name + ".gamma", {channels, 1, 1, 1}, norm.weight);
    INTAGLIO_TRY(fetch_vector(name + ".weight", {channels}, norm.weight));
    return fetch_vector(name + ".bias", {channels}, norm.bias);
  }

  Status load_conv(const std::string& name, int64_t in, int64_t out, int64_t kernel, bool upsample,
                   Conv2dWeights& conv) {
    if (is_wan_) return load_conv3d(name, in, out, kernel, conv);
    return load_conv2d(name, in, out, kernel, upsample, conv);
  }

  Status load_conv2d(const std::string& name, int64_t in, int64_t out, int64_t kernel,
                     bool upsample, Conv2dWeights& conv) {
    INTAGLIO_ASSIGN(const std::optional<Tensor> w,
                    fetch(name + ".weight", {out, in, kernel, kernel}));
    INTAGLIO_ASSIGN(const std::optional<Tensor> bias, fetch(name + ".bias", {out}));
    return prepare_conv(view_of(w), view_of(bias), upsample, in, out, kernel, conv);
  }

  // Of a causal convolution over frames, what meets the only frame: the last slice in time.
  Status load_conv3d(const std::string& name, int64_t in, int64_t out, int64_t kernel,
                     Conv2dWeights& conv) {
    INTAGLIO_ASSIGN(const std::optional<Tensor> w,
                    fetch(name + ".weight", {out, in, kernel, kernel, kernel}));
    INTAGLIO_ASSIGN(const std::optional<Tensor> bias, fetch(name + ".bias", {out}));
    if (!w) return prepare_conv(std::nullopt, std::nullopt, false, in, out, kernel, conv);
    std::vector<float> all(static_cast<size_t>(w->view.shape.count()));
    convert_to_f32(w->view.data, w->view.dtype, all.data(), all.size());
    const auto slice = static_cast<size_t>(kernel * kernel);
    const auto frames = static_cast<size_t>(kernel);
    std::vector<float> last(all.size() / frames);
    for (size_t i = 0; i < static_cast<size_t>(out * in); ++i)
      std::copy_n(&all[((i + 1) * frames - 1) * slice], slice, &last[i * slice]);
    const TensorView view{last.data(), DType::kF32, {out, in, kernel, kernel}};
    return prepare_conv(view, view_of(bias), false, in, out, kernel, conv);
  }

  Status load_upsampler(const std::string& name, int64_t width, Conv2dWeights& conv) {
    return load_conv2d(name + (is_wan_ ? ".resample.1" : ".conv"), width,
                       block_width_behind(config_, width), 3, true, conv);
  }

  static std::optional<TensorView> view_of(const std::optional<Tensor>& tensor) {
    return tensor ? std::optional(tensor->view) : std::nullopt;
  }

  Status prepare_conv(const std::optional<TensorView>& w, const std::optional<TensorView>& bias,
                      bool upsample, int64_t in, int64_t out, int64_t kernel, Conv2dWeights& conv) {
    if (mode_ == Mode::kShapes) {
      conv = {.in_channels = in,
              .out_channels = out,
              .kernel = kernel,
              .upsample = upsample,
              .dtype = compute_,
              .packed = {},
              .bias = {}};
      const Conv2dDesc desc{.height = 64,
                            .width = 64,
                            .in_channels = in,
                            .out_channels = out,
                            .kernel = kernel,
                            .upsample = upsample,
                            .dtype = compute_};
      INTAGLIO_ASSIGN(conv.implementation, choose_conv2d(desc, context_));
    }
    if (!w || !bias) return {};
    INTAGLIO_ASSIGN(conv, make_conv2d(context_, compute_, *w, *bias, upsample));
    return {};
  }

  // Weight and bias of a linear over pixels, both or neither.
  struct PixelLinear {
    std::optional<Tensor> w, bias;

    // Rows [part * rows, (part + 1) * rows), as a convolution of kernel 1.
    std::optional<TensorView> rows_of(int64_t part, int64_t rows, int64_t channels) const {
      if (!w) return std::nullopt;
      const size_t offset = static_cast<size_t>(part * rows * channels) * dtype_size(w->view.dtype);
      return TensorView{w->view.as<std::byte>() + offset, w->view.dtype, {rows, channels, 1, 1}};
    }
    std::optional<TensorView> bias_of(int64_t part, int64_t rows) const {
      if (!bias) return std::nullopt;
      const size_t offset = static_cast<size_t>(part * rows) * dtype_size(bias->view.dtype);
      return TensorView{bias->view.as<std::byte>() + offset, bias->view.dtype, {rows}};
    }
  };

  Expected<PixelLinear> fetch_linear(const std::string& name, int64_t rows, int64_t channels) {
    const Shape shape = is_wan_ ? Shape{rows, channels, 1, 1} : Shape{rows, channels};
    PixelLinear linear;
    INTAGLIO_ASSIGN(linear.w, fetch(name + ".weight", shape));
    INTAGLIO_ASSIGN(linear.bias, fetch(name + ".bias", {rows}));
    return linear;
  }

  // Part `part` of a linear's rows.
  Status prepare_linear(const PixelLinear& linear, int64_t part, int64_t channels,
                        Conv2dWeights& conv) {
    return prepare_conv(linear.rows_of(part, channels, channels), linear.bias_of(part, channels),
                        false, channels, channels, 1, conv);
  }

  Status load_resnet(const std::string& name, int64_t in, int64_t out,
                     DecoderWeights::Resnet& resnet) {
    INTAGLIO_TRY(load_norm(name + ".norm1", in, resnet.norm1));
    INTAGLIO_TRY(load_conv(name + ".conv1", in, out, 3, false, resnet.conv1));
    INTAGLIO_TRY(load_norm(name + ".norm2", out, resnet.norm2));
    INTAGLIO_TRY(load_conv(name + ".conv2", out, out, 3, false, resnet.conv2));
    if (in == out) return {};
    return load_conv(name + ".conv_shortcut", in, out, 1, false, resnet.shortcut.emplace());
  }

  Status load_attention(const std::string& name, int64_t channels,
                        DecoderWeights::Attention& attention) {
    const int64_t c = channels;
    if (is_wan_) {
      INTAGLIO_TRY(fetch_vector(name + ".norm.gamma", {c, 1, 1}, attention.norm.weight));
      INTAGLIO_ASSIGN(const PixelLinear qkv, fetch_linear(name + ".to_qkv", 3 * c, c));
      INTAGLIO_TRY(prepare_linear(qkv, 0, c, attention.q));
      INTAGLIO_TRY(prepare_linear(qkv, 1, c, attention.k));
      INTAGLIO_TRY(prepare_values(qkv.rows_of(2, c, c), qkv.bias_of(2, c), attention));
      INTAGLIO_ASSIGN(const PixelLinear out, fetch_linear(name + ".proj", c, c));
      return prepare_linear(out, 0, c, attention.out);
    }
    INTAGLIO_TRY(load_norm(name + ".group_norm", c, attention.norm));
    for (const auto& [part, conv] : {std::pair{".to_q", &attention.q},
                                     {".to_k", &attention.k},
                                     {".to_out.0", &attention.out}}) {
      INTAGLIO_ASSIGN(const PixelLinear linear, fetch_linear(name + part, c, c));
      INTAGLIO_TRY(prepare_linear(linear, 0, c, *conv));
    }
    INTAGLIO_ASSIGN(const PixelLinear v, fetch_linear(name + ".to_v", c, c));
    return prepare_values(v.rows_of(0, c, c), v.bias_of(0, c), attention);
  }

  // v, which is multiplied from the left: as it is, in the compute type.
  Status prepare_values(const std::optional<TensorView>& w, const std::optional<TensorView>& bias,
                        DecoderWeights::Attention& attention) {
    if (!w || !bias) return {};
    std::vector<float> values(static_cast<size_t>(bias->shape.count()));
    convert_to_f32(bias->data, bias->dtype, values.data(), values.size());
    INTAGLIO_ASSIGN(attention.v_bias, upload(context_, values));
    std::vector<float> floats(static_cast<size_t>(w->shape.count()));
    convert_to_f32(w->data, w->dtype, floats.data(), floats.size());
    const size_t bytes = floats.size() * dtype_size(compute_);
    INTAGLIO_ASSIGN(attention.v, allocate(context_, bytes));
    const std::vector<BFloat16> rounded(floats.begin(), floats.end());
    const void* const rows =
        compute_ == DType::kBF16 ? static_cast<const void*>(rounded.data()) : floats.data();
    return copy_in(context_, attention.v.data(), rows, bytes);
  }

  const Context& context_;
  const DecoderConfig& config_;
  bool is_wan_;
  DType compute_;
  Mode mode_;
  TensorSource* source_;
  TensorShapes declared_;
};

}  // namespace

Expected<DecoderWeights> describe_decoder(const Context& context, const DecoderConfig& config,
                                          DType compute) {
  DecoderWeights weights;
  INTAGLIO_TRY(Loader(context, config, compute, Loader::Mode::kShapes).load(weights));
  return weights;
}

// An AutoencoderKL applies post_quant_conv if its file has one, whatever its config says.
DecoderConfig as_stored(DecoderConfig config, const Checkpoint& checkpoint) {
  if (!config.batch_norm && checkpoint.find("post_quant_conv.weight") != nullptr)
    config.post_quant_conv = true;
  return config;
}

namespace {

// `names` is read as long as the source is there.
Expected<std::shared_ptr<CheckpointSource>> open_source(
    const std::shared_ptr<const Checkpoint>& checkpoint, const DecoderConfig& said,
    const DecoderNames& names) {
  const DecoderConfig config = as_stored(said, *checkpoint);
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
    INTAGLIO_TRY(source->refuse_layers_beyond("decoder.mid_block.attentions.", 0,
                                              "mid_block_add_attention"));
  if (!config.post_quant_conv && checkpoint->find("post_quant_conv.weight") != nullptr) {
    return make_error(ErrorCode::kShapeMismatch,
                      "{}: holds post_quant_conv.weight, but use_post_quant_conv is false in the "
                      "config",
                      checkpoint->path().string());
  }
  INTAGLIO_TRY(source->check(decoder_tensor_shapes(config)));
  return source;
}

}  // namespace

Status check_decoder_weights(const std::shared_ptr<const Checkpoint>& checkpoint,
                             const DecoderConfig& said) {
  const DecoderNames names(said);
  return open_source(checkpoint, said, names).map([](const auto&) {});
}

TensorShapes decoder_tensor_shapes(const DecoderConfig& config) {
  DecoderWeights weights;
  const Context no_device;
  Loader declare(no_device, config, DType::kF32, Loader::Mode::kDeclare);
  // It reads nothing and allocates nothing, so it cannot fail.
  static_cast<void>(declare.load(weights));
  return declare.declared();
}

uint64_t decoder_weight_bytes(const DecoderConfig& config, DType compute) {
  constexpr int64_t kPanel = 16;  // output channels that kernels compute together
  int64_t values = 0;
  for (const auto& [name, shape] : decoder_tensor_shapes(config))
    if (shape.rank > 1)
      values += (shape[0] + kPanel - 1) / kPanel * kPanel *
                (shape.count() / shape[0] / (shape.rank == 5 ? shape[2] : 1));
  // Packed weights are padded to whole tiles, norms and biases are small.
  return static_cast<uint64_t>(values) * dtype_size(compute) * 5 / 4;
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
  INTAGLIO_TRY(Loader(context, config_, compute_, Loader::Mode::kPrepare, &source).load(*weights));
  weights_ = std::move(weights);
  return {};
}

Expected<Decoder> Decoder::load(const Context& context, const PartFiles& files, DType compute) {
  if (compute != DType::kF32 && compute != DType::kBF16) {
    return make_error(ErrorCode::kInvalidArgument,
                      "VAE: cannot compute in {}, expected F32 or BF16", dtype_name(compute));
  }
  INTAGLIO_ASSIGN(const JsonConfig json, JsonConfig::open(files.config));
  Decoder decoder;
  decoder.compute_ = compute;
  INTAGLIO_ASSIGN(decoder.config_, parse_decoder_config(json));
  INTAGLIO_ASSIGN(std::shared_ptr<const Checkpoint> checkpoint, Checkpoint::open(files.weights));
  decoder.config_ = as_stored(decoder.config_, *checkpoint);
  const DecoderNames names(decoder.config_);
  INTAGLIO_ASSIGN(const std::shared_ptr<CheckpointSource> source,
                  open_source(checkpoint, decoder.config_, names));
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
            x[token * 4 * channels + i] * weights_->latent_scale[static_cast<size_t>(i)] +
            weights_->latent_shift[static_cast<size_t>(i)];
      }
    }
  }
  return {};
}

}  // namespace intaglio::autoencoder
