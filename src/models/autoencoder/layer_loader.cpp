#include "models/autoencoder/layer_loader.h"

#include <algorithm>
#include <cmath>

#include "core/memory.h"

namespace intaglio::autoencoder {

Expected<StoredAutoencoder> open_stored(const PartFiles& files, DType compute) {
  if (compute != DType::kF32 && compute != DType::kBF16) {
    return make_error(ErrorCode::kInvalidArgument,
                      "VAE: cannot compute in {}, expected F32 or BF16", dtype_name(compute));
  }
  StoredAutoencoder stored;
  INTAGLIO_ASSIGN(const JsonConfig json, JsonConfig::open(files.config));
  INTAGLIO_ASSIGN(stored.config, parse_decoder_config(json));
  INTAGLIO_ASSIGN(stored.checkpoint, Checkpoint::open(files.weights));
  return stored;
}

namespace {

std::optional<TensorView> view_of(const std::optional<Tensor>& tensor) {
  return tensor ? std::optional(tensor->view) : std::nullopt;
}

Conv2dDesc layer_desc(int64_t in, int64_t out, int64_t kernel) {
  return {.height = 64, .width = 64, .in_channels = in, .out_channels = out, .kernel = kernel};
}

}  // namespace

uint64_t packed_bytes(const TensorShapes& shapes, DType compute) {
  constexpr int64_t kPanel = 16;  // output channels that kernels compute together
  int64_t values = 0;
  for (const auto& [name, shape] : shapes)
    if (shape.rank > 1)
      values += (shape[0] + kPanel - 1) / kPanel * kPanel *
                (shape.count() / shape[0] / (shape.rank == 5 ? shape[2] : 1));
  // Packed weights are padded to whole tiles, norms and biases are small.
  return static_cast<uint64_t>(values) * dtype_size(compute) * 5 / 4;
}

std::optional<TensorView> LayerLoader::PixelLinear::rows_of(int64_t part, int64_t rows,
                                                            int64_t channels) const {
  if (!w) return std::nullopt;
  const size_t offset = static_cast<size_t>(part * rows * channels) * dtype_size(w->view.dtype);
  return TensorView{w->view.as<std::byte>() + offset, w->view.dtype, {rows, channels, 1, 1}};
}

std::optional<TensorView> LayerLoader::PixelLinear::bias_of(int64_t part, int64_t rows) const {
  if (!bias) return std::nullopt;
  const size_t offset = static_cast<size_t>(part * rows) * dtype_size(bias->view.dtype);
  return TensorView{bias->view.as<std::byte>() + offset, bias->view.dtype, {rows}};
}

Expected<std::optional<Tensor>> LayerLoader::fetch(const std::string& name, const Shape& shape) {
  if (mode_ == Mode::kDeclare) declared_.emplace_back(name, shape);
  if (mode_ != Mode::kPrepare) return std::nullopt;
  INTAGLIO_TRY(check_cancelled(context_));
  return source_->tensor(name, shape).map([](Tensor&& tensor) {
    return std::optional(std::move(tensor));
  });
}

Status LayerLoader::fetch_floats(const std::string& name, const Shape& shape,
                                 std::vector<float>& out) {
  INTAGLIO_ASSIGN(const std::optional<Tensor> tensor, fetch(name, shape));
  if (!tensor) return {};
  out.resize(static_cast<size_t>(shape.count()));
  convert_to_f32(tensor->view.data, tensor->view.dtype, out.data(), out.size());
  return {};
}

Status LayerLoader::fetch_vector(const std::string& name, const Shape& shape, AlignedBuffer& out) {
  std::vector<float> values;
  INTAGLIO_TRY(fetch_floats(name, shape, values));
  INTAGLIO_ASSIGN(out, upload(context_, values));
  return {};
}

Expected<LayerLoader::PixelLinear> LayerLoader::fetch_linear(const std::string& name, int64_t rows,
                                                             int64_t channels) {
  const Shape shape = is_wan_ ? Shape{rows, channels, 1, 1} : Shape{rows, channels};
  PixelLinear linear;
  INTAGLIO_ASSIGN(linear.w, fetch(name + ".weight", shape));
  INTAGLIO_ASSIGN(linear.bias, fetch(name + ".bias", {rows}));
  return linear;
}

Status LayerLoader::load_statistics(LatentStatistics& statistics) {
  const int64_t count = 4 * config_.latent_channels;
  if (is_wan_) {
    for (int64_t i = 0; i < count; ++i) {
      const auto plane = static_cast<size_t>(i / 4);  // packed with the channel slowest
      statistics.scale.push_back(config_.latents_std[plane]);
      statistics.shift.push_back(config_.latents_mean[plane]);
    }
    return {};
  }
  if (!config_.batch_norm) {
    const auto values = static_cast<size_t>(count);
    statistics.scale.assign(values, static_cast<float>(1.0 / config_.scaling_factor));
    statistics.shift.assign(values, static_cast<float>(config_.shift_factor));
    return {};
  }
  std::vector<float> variance;
  INTAGLIO_TRY(fetch_floats("bn.running_mean", {count}, statistics.shift));
  INTAGLIO_TRY(fetch_floats("bn.running_var", {count}, variance));
  for (size_t i = 0; i < variance.size(); ++i) {
    const double v = static_cast<double>(variance[i]) + config_.batch_norm_eps;
    if (!(v >= 0.0))
      return make_error(ErrorCode::kBadFormat, "vae: bn.running_var[{}] is {}, expected 0 or more",
                        i, variance[i]);
    statistics.scale.push_back(static_cast<float>(std::sqrt(v)));
  }
  return {};
}

Status LayerLoader::load_norm(const std::string& name, int64_t channels, Norm& norm) {
  // A norm of a video: [channels, frame, row, column].
  if (is_wan_) return fetch_vector(name + ".gamma", {channels, 1, 1, 1}, norm.weight);
  INTAGLIO_TRY(fetch_vector(name + ".weight", {channels}, norm.weight));
  return fetch_vector(name + ".bias", {channels}, norm.bias);
}

Status LayerLoader::load_conv(const std::string& name, int64_t in, int64_t out, int64_t kernel,
                              Conv2dWeights& conv) {
  if (is_wan_) return load_conv3d(name, in, out, kernel, conv);
  return load_conv2d(name, in, out, kernel, false, conv);
}

Status LayerLoader::load_conv2d(const std::string& name, int64_t in, int64_t out, int64_t kernel,
                                bool upsample, Conv2dWeights& conv) {
  INTAGLIO_ASSIGN(const std::optional<Tensor> w,
                  fetch(name + ".weight", {out, in, kernel, kernel}));
  INTAGLIO_ASSIGN(const std::optional<Tensor> bias, fetch(name + ".bias", {out}));
  Conv2dDesc desc = layer_desc(in, out, kernel);
  desc.upsample = upsample;
  return prepare_conv(view_of(w), view_of(bias), desc, conv);
}

Status LayerLoader::load_conv3d(const std::string& name, int64_t in, int64_t out, int64_t kernel,
                                Conv2dWeights& conv) {
  INTAGLIO_ASSIGN(const std::optional<Tensor> w,
                  fetch(name + ".weight", {out, in, kernel, kernel, kernel}));
  INTAGLIO_ASSIGN(const std::optional<Tensor> bias, fetch(name + ".bias", {out}));
  const Conv2dDesc desc = layer_desc(in, out, kernel);
  if (!w) return prepare_conv(std::nullopt, std::nullopt, desc, conv);
  std::vector<float> all(static_cast<size_t>(w->view.shape.count()));
  convert_to_f32(w->view.data, w->view.dtype, all.data(), all.size());
  const auto slice = static_cast<size_t>(kernel * kernel);
  const auto frames = static_cast<size_t>(kernel);
  std::vector<float> last(all.size() / frames);
  for (size_t i = 0; i < static_cast<size_t>(out * in); ++i)
    std::copy_n(&all[((i + 1) * frames - 1) * slice], slice, &last[i * slice]);
  const TensorView view{last.data(), DType::kF32, {out, in, kernel, kernel}};
  return prepare_conv(view, view_of(bias), desc, conv);
}

Status LayerLoader::prepare_conv(const std::optional<TensorView>& w,
                                 const std::optional<TensorView>& bias, const Conv2dDesc& shape,
                                 Conv2dWeights& conv) {
  if (mode_ == Mode::kShapes) {
    Conv2dDesc desc = shape;
    desc.dtype = compute_;
    conv = {.in_channels = desc.in_channels,
            .out_channels = desc.out_channels,
            .kernel = desc.kernel,
            .upsample = desc.upsample,
            .dtype = compute_,
            .packed = {},
            .bias = {}};
    INTAGLIO_ASSIGN(conv.implementation, choose_conv2d(desc, context_));
  }
  if (!w || !bias) return {};
  INTAGLIO_ASSIGN(conv, make_conv2d(context_, compute_, *w, *bias, shape.upsample));
  return {};
}

Status LayerLoader::prepare_linear(const PixelLinear& linear, int64_t part, int64_t channels,
                                   Conv2dWeights& conv) {
  return prepare_conv(linear.rows_of(part, channels, channels), linear.bias_of(part, channels),
                      layer_desc(channels, channels, 1), conv);
}

Status LayerLoader::load_resnet(const std::string& name, int64_t in, int64_t out, Resnet& resnet) {
  INTAGLIO_TRY(load_norm(name + ".norm1", in, resnet.norm1));
  INTAGLIO_TRY(load_conv(name + ".conv1", in, out, 3, resnet.conv1));
  INTAGLIO_TRY(load_norm(name + ".norm2", out, resnet.norm2));
  INTAGLIO_TRY(load_conv(name + ".conv2", out, out, 3, resnet.conv2));
  if (in == out) return {};
  return load_conv(name + ".conv_shortcut", in, out, 1, resnet.shortcut.emplace());
}

Status LayerLoader::load_mid_block(const std::string& name, int64_t channels, MidBlock& mid) {
  mid.resnets.resize(2);
  for (size_t i = 0; i < 2; ++i)
    INTAGLIO_TRY(
        load_resnet(fmt::format("{}.resnets.{}", name, i), channels, channels, mid.resnets[i]));
  if (!config_.mid_attention) return {};
  return load_attention(name + ".attentions.0", channels, mid.attention.emplace());
}

Status LayerLoader::load_attention(const std::string& name, int64_t c, Attention& attention) {
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
  for (const auto& [part, conv] :
       {std::pair{".to_q", &attention.q}, {".to_k", &attention.k}, {".to_out.0", &attention.out}}) {
    INTAGLIO_ASSIGN(const PixelLinear linear, fetch_linear(name + part, c, c));
    INTAGLIO_TRY(prepare_linear(linear, 0, c, *conv));
  }
  INTAGLIO_ASSIGN(const PixelLinear v, fetch_linear(name + ".to_v", c, c));
  return prepare_values(v.rows_of(0, c, c), v.bias_of(0, c), attention);
}

Status LayerLoader::prepare_values(const std::optional<TensorView>& w,
                                   const std::optional<TensorView>& bias, Attention& attention) {
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

}  // namespace intaglio::autoencoder
