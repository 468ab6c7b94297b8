#include "models/autoencoder/decoder.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/memory.h"
#include "models/autoencoder/config_keys.h"
#include "models/autoencoder/decoder_weights.h"
#include "models/parts/weights.h"

namespace intaglio::autoencoder {
namespace {

constexpr const char* kFlux2Class = "AutoencoderKLFlux2";

// Goes through the weights of the decoder by name. kDeclare lists what is needed, so that all
// problems are found before the first tensor is prepared; kShapes needs no tensors.
class Loader {
 public:
  enum class Mode { kShapes, kDeclare, kPrepare };

  Loader(const Context& context, const DecoderConfig& config, DType compute, Mode mode,
         TensorSource* source = nullptr)
      : context_(context), config_(config), compute_(compute), mode_(mode), source_(source) {}

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
        INTAGLIO_TRY(load_conv(name + ".upsamplers.0.conv", width, width, 3, true,
                               block.upsampler.emplace()));
      }
    }
    INTAGLIO_TRY(load_norm("decoder.conv_norm_out", channels, weights.norm_out));
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

  Status fetch_floats(const std::string& name, int64_t count, std::vector<float>& out) {
    INTAGLIO_ASSIGN(const std::optional<Tensor> tensor, fetch(name, {count}));
    if (!tensor) return {};
    out.resize(static_cast<size_t>(count));
    convert_to_f32(tensor->view.data, tensor->view.dtype, out.data(), out.size());
    return {};
  }

  // The same in memory of the device.
  Status fetch_vector(const std::string& name, int64_t count, AlignedBuffer& out) {
    std::vector<float> values;
    INTAGLIO_TRY(fetch_floats(name, count, values));
    INTAGLIO_ASSIGN(out, upload(context_, values));
    return {};
  }

  Status load_statistics(DecoderWeights& weights) {
    std::vector<float> variance;
    const int64_t count = 4 * config_.latent_channels;
    if (!config_.batch_norm) {
      const auto values = static_cast<size_t>(count);
      weights.latent_scale.assign(values, static_cast<float>(1.0 / config_.scaling_factor));
      weights.latent_shift.assign(values, static_cast<float>(config_.shift_factor));
      return {};
    }
    INTAGLIO_TRY(fetch_floats("bn.running_mean", count, weights.latent_shift));
    INTAGLIO_TRY(fetch_floats("bn.running_var", count, variance));
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
    INTAGLIO_TRY(fetch_vector(name + ".weight", channels, norm.weight));
    return fetch_vector(name + ".bias", channels, norm.bias);
  }

  Status load_conv(const std::string& name, int64_t in, int64_t out, int64_t kernel, bool upsample,
                   Conv2dWeights& conv) {
    INTAGLIO_ASSIGN(const std::optional<Tensor> w,
                    fetch(name + ".weight", {out, in, kernel, kernel}));
    INTAGLIO_ASSIGN(const std::optional<Tensor> bias, fetch(name + ".bias", {out}));
    return prepare_conv(w, bias, upsample, in, out, kernel, conv);
  }

  Status prepare_conv(const std::optional<Tensor>& w, const std::optional<Tensor>& bias,
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
    INTAGLIO_ASSIGN(conv, make_conv2d(context_, compute_, w->view, bias->view, upsample));
    return {};
  }

  // A linear as a convolution of kernel 1.
  Status load_linear(const std::string& name, int64_t channels, Conv2dWeights& conv) {
    INTAGLIO_ASSIGN(std::optional<Tensor> w, fetch(name + ".weight", {channels, channels}));
    if (w) w->view.shape = {channels, channels, 1, 1};
    INTAGLIO_ASSIGN(const std::optional<Tensor> bias, fetch(name + ".bias", {channels}));
    return prepare_conv(w, bias, false, channels, channels, 1, conv);
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
    INTAGLIO_TRY(load_norm(name + ".group_norm", channels, attention.norm));
    INTAGLIO_TRY(load_linear(name + ".to_q", channels, attention.q));
    INTAGLIO_TRY(load_linear(name + ".to_k", channels, attention.k));
    INTAGLIO_TRY(load_linear(name + ".to_out.0", channels, attention.out));
    INTAGLIO_TRY(fetch_vector(name + ".to_v.bias", channels, attention.v_bias));
    INTAGLIO_ASSIGN(const std::optional<Tensor> v,
                    fetch(name + ".to_v.weight", {channels, channels}));
    if (v) {
      const auto count = static_cast<size_t>(channels * channels);
      std::vector<float> floats(count);
      convert_to_f32(v->view.data, v->view.dtype, floats.data(), count);
      const size_t bytes = count * dtype_size(compute_);
      INTAGLIO_ASSIGN(attention.v, allocate(context_, bytes));
      const std::vector<BFloat16> rounded(floats.begin(), floats.end());
      const void* const values =
          compute_ == DType::kBF16 ? static_cast<const void*>(rounded.data()) : floats.data();
      INTAGLIO_TRY(copy_in(context_, attention.v.data(), values, bytes));
    }
    return {};
  }

  const Context& context_;
  const DecoderConfig& config_;
  DType compute_;
  Mode mode_;
  TensorSource* source_;
  TensorShapes declared_;
};

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

}  // namespace

Expected<DecoderConfig> parse_decoder_config(const JsonConfig& json) {
  INTAGLIO_TRY(check_config_keys(keyed_config(json)));
  DecoderConfig config;
  const bool own_widths = json.contains("decoder_block_out_channels");
  INTAGLIO_ASSIGN(config.latent_channels, json.integer("latent_channels", 1, 4096));
  INTAGLIO_ASSIGN(config.widths, json.integers("block_out_channels", 1, 16384, 8));
  if (own_widths) {
    // The pipeline counts pixels a latent by the encoder's widths.
    const size_t levels = config.widths.size();
    INTAGLIO_ASSIGN(config.widths, json.integers("decoder_block_out_channels", 1, 16384, 8));
    if (config.widths.size() != levels)
      return make_error(ErrorCode::kUnsupported,
                        "{}decoder_block_out_channels has {} widths, block_out_channels has {}; "
                        "supported is the same number",
                        json.where(), config.widths.size(), levels);
  }
  INTAGLIO_ASSIGN(config.layers_per_block, json.integer("layers_per_block", 1, 64));
  INTAGLIO_ASSIGN(config.norm_groups, json.integer("norm_num_groups", 1, 16384));
  INTAGLIO_ASSIGN(const std::string name, json.string_or("_class_name", kFlux2Class));
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
  if (config.widths.empty())
    return make_error(ErrorCode::kBadFormat, "{}block_out_channels: no block widths", json.where());
  if (!(config.batch_norm_eps >= 0.0))
    return make_error(ErrorCode::kBadFormat, "{}batch_norm_eps: expected 0 or more, found {}",
                      json.where(), config.batch_norm_eps);
  INTAGLIO_TRY(check_up_blocks(json, config.widths.size()));
  for (const int64_t width : config.widths) {
    if (width % config.norm_groups != 0) {
      return make_error(ErrorCode::kBadFormat,
                        "{}norm_num_groups: a block of {} channels does not divide into {} groups",
                        json.where(), width, config.norm_groups);
    }
  }
  return config;
}

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

Expected<std::shared_ptr<CheckpointSource>> open_source(
    const std::shared_ptr<const Checkpoint>& checkpoint, const DecoderConfig& said) {
  const DecoderConfig config = as_stored(said, *checkpoint);
  INTAGLIO_ASSIGN(std::shared_ptr<CheckpointSource> source, CheckpointSource::open(checkpoint));
  const auto blocks = static_cast<int64_t>(config.widths.size());
  INTAGLIO_TRY(source->refuse_layers_beyond("decoder.up_blocks.", blocks, "block_out_channels"));
  for (int64_t i = 0; i < blocks; ++i) {
    INTAGLIO_TRY(source->refuse_layers_beyond(fmt::format("decoder.up_blocks.{}.resnets.", i),
                                              config.layers_per_block + 1, "layers_per_block + 1"));
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
  return open_source(checkpoint, said).map([](const auto&) {});
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
      values += (shape[0] + kPanel - 1) / kPanel * kPanel * (shape.count() / shape[0]);
  // Packed weights are padded to whole tiles, norms and biases are small.
  return static_cast<uint64_t>(values) * dtype_size(compute) * 5 / 4;
}

DType Decoder::compute_dtype(const Context& context, const LayerSelection& selection) {
  if (selection.precision == Precision::kFp32) return DType::kF32;
  const bool has_bf16 =
      context.gpu != nullptr ? context.gpu->compute_capability >= 80 : context.cpu.avx512_bf16;
  return has_bf16 ? DType::kBF16 : DType::kF32;
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
  INTAGLIO_ASSIGN(const std::shared_ptr<CheckpointSource> source,
                  open_source(checkpoint, decoder.config_));
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
        const int64_t i = (y % 2 * 2 + column % 2) * channels + plane;
        line[column] =
            x[token * 4 * channels + i] * weights_->latent_scale[static_cast<size_t>(i)] +
            weights_->latent_shift[static_cast<size_t>(i)];
      }
    }
  }
  return {};
}

}  // namespace intaglio::autoencoder
