#include "eval/towers/conv_features.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "core/parallel.h"

namespace intaglio::towers {
namespace {

constexpr int64_t kBlockFloats = int64_t{1} << 22;  // of the rows that are multiplied at once

std::vector<std::string> names_of(size_t slice, int64_t index, std::string_view leaf) {
  return {fmt::format("features.{}.{}", index, leaf),
          fmt::format("net.slice{}.{}.{}", slice + 1, index, leaf)};
}

// [out, in, k, k] -> [out, k, k, in].
std::vector<float> channels_last(const std::vector<float>& w, const Shape& shape) {
  const int64_t inputs = shape[1], places = shape[2] * shape[3];
  std::vector<float> turned(w.size());
  for (int64_t o = 0; o < shape[0]; ++o)
    for (int64_t c = 0; c < inputs; ++c)
      for (int64_t p = 0; p < places; ++p)
        turned[static_cast<size_t>((o * places + p) * inputs + c)] =
            w[static_cast<size_t>((o * inputs + c) * places + p)];
  return turned;
}

tl::unexpected<Error> too_small(std::string_view network) {
  return make_error(ErrorCode::kInvalidArgument, "the picture is too small, {} needs {} pixels",
                    network, network == "vgg" ? 16 : 31);
}

}  // namespace

// Indices of the convolutions in torchvision's list, slice by slice, and their windows.
struct ConvFeatures::Plan {
  std::string_view network;
  Window pool;  // before the first convolution of a slice, where `pooled` says so
  std::vector<bool> pooled;
  std::vector<std::vector<std::pair<int64_t, Window>>> slices;
};

const ConvFeatures::Plan& ConvFeatures::plan_of(bool vgg) {
  static const Window kThree{3, 1, 1};
  static const Plan kAlex{
      "alex",
      {3, 2, 0},
      {false, true, true, false, false},
      {{{0, {11, 4, 2}}}, {{3, {5, 1, 2}}}, {{6, kThree}}, {{8, kThree}}, {{10, kThree}}}};
  static const Plan kVgg{"vgg",
                         {2, 2, 0},
                         {false, true, true, true, true},
                         {{{0, kThree}, {2, kThree}},
                          {{5, kThree}, {7, kThree}},
                          {{10, kThree}, {12, kThree}, {14, kThree}},
                          {{17, kThree}, {19, kThree}, {21, kThree}},
                          {{24, kThree}, {26, kThree}, {28, kThree}}}};
  return vgg ? kVgg : kAlex;
}

Expected<ConvFeatures::Layer> ConvFeatures::read_layer(const TowerWeights& source, size_t slice,
                                                       int64_t index, const Window& window,
                                                       int64_t inputs) {
  const std::vector<std::string> names = names_of(slice, index, "weight");
  const std::string name = source.find(names).value_or(names.front());
  INTAGLIO_ASSIGN(const Shape shape, source.shape(name, 4));
  const Shape expected{shape[0], inputs, window.kernel, window.kernel};
  INTAGLIO_ASSIGN(const std::vector<float> weight, source.read(name, expected));
  Layer layer{.pool = {}, .window = window, .inputs = inputs, .weights = {}};
  layer.weights = {.outputs = shape[0],
                   .inputs = inputs * window.kernel * window.kernel,
                   .weight = channels_last(weight, expected),
                   .bias = {}};
  const std::vector<std::string> biases = names_of(slice, index, "bias");
  INTAGLIO_ASSIGN(layer.weights.bias,
                  source.read(source.find(biases).value_or(biases.front()), {shape[0]}));
  return layer;
}

Expected<ConvFeatures> ConvFeatures::read(const TowerWeights& source) {
  // The third layer of VGG is a convolution, that of AlexNet is pooling.
  const Plan& plan = plan_of(source.find(names_of(0, 2, "weight")).has_value());
  ConvFeatures features;
  features.network_ = plan.network;
  int64_t inputs = 3;
  for (size_t slice = 0; slice < plan.slices.size(); ++slice) {
    std::vector<Layer> layers;
    for (const auto& [index, window] : plan.slices[slice]) {
      INTAGLIO_ASSIGN(Layer layer, read_layer(source, slice, index, window, inputs));
      if (layers.empty() && plan.pooled[slice]) layer.pool = plan.pool;
      inputs = layer.weights.outputs;
      layers.push_back(std::move(layer));
    }
    features.slices_.push_back(std::move(layers));
  }
  return features;
}

FeatureMap ConvFeatures::pooled(const Window& pool, const FeatureMap& in) {
  FeatureMap out{pool.outputs(in.height), pool.outputs(in.width), in.channels, {}};
  out.values.assign(static_cast<size_t>(out.height * out.width * out.channels),
                    -std::numeric_limits<float>::infinity());
  for (int64_t y = 0; y < out.height; ++y)
    for (int64_t x = 0; x < out.width; ++x) {
      float* const to = out.values.data() + (y * out.width + x) * out.channels;
      for (int64_t dy = 0; dy < pool.kernel; ++dy)
        for (int64_t dx = 0; dx < pool.kernel; ++dx) {
          const int64_t place = (y * pool.stride + dy) * in.width + x * pool.stride + dx;
          const float* const from = in.values.data() + place * in.channels;
          for (int64_t c = 0; c < in.channels; ++c) to[c] = std::max(to[c], from[c]);
        }
    }
  return out;
}

// Rows of what each place of the output sees, a block of them at a time, then one product.
Expected<FeatureMap> ConvFeatures::convolved(TowerMath& math, const Layer& layer,
                                             const FeatureMap& in) {
  const Window& window = layer.window;
  FeatureMap out{window.outputs(in.height), window.outputs(in.width), layer.weights.outputs, {}};
  const int64_t places = out.height * out.width, inputs = layer.weights.inputs;
  const int64_t run = window.kernel * in.channels;  // of one row of the window
  out.values.resize(static_cast<size_t>(places * out.channels));
  const int64_t block = std::min(places, std::max<int64_t>(kBlockFloats / inputs, 1));
  std::vector<float> rows(static_cast<size_t>(block * inputs));
  for (int64_t first = 0; first < places; first += block) {
    INTAGLIO_TRY(math.check());
    const int64_t count = std::min(block, places - first);
    parallel_for(math.context().threads, count, 64, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t top = (first + i) / out.width * window.stride - window.padding;
        const int64_t left = (first + i) % out.width * window.stride - window.padding;
        const int64_t from = std::max<int64_t>(left, 0);
        const int64_t to = std::min(left + window.kernel, in.width);
        float* row = rows.data() + i * inputs;
        for (int64_t dy = 0; dy < window.kernel; ++dy, row += run) {
          std::fill_n(row, run, 0.0f);
          const int64_t y = top + dy;
          if (y < 0 || y >= in.height || from >= to) continue;
          std::copy_n(in.values.data() + (y * in.width + from) * in.channels,
                      (to - from) * in.channels, row + (from - left) * in.channels);
        }
      }
    });
    INTAGLIO_TRY(math.dense_into(layer.weights, rows.data(), count,
                                 out.values.data() + first * out.channels));
  }
  return out;
}

Expected<FeatureMap> ConvFeatures::run(TowerMath& math, size_t slice, const FeatureMap& in) const {
  FeatureMap map;
  const FeatureMap* at = &in;
  for (const Layer& layer : slices_[slice]) {
    if (layer.pool.kernel > 1) {
      if (std::min(at->height, at->width) < layer.pool.kernel) return too_small(network_);
      map = pooled(layer.pool, *at);
      at = &map;
    }
    if (layer.window.outputs(std::min(at->height, at->width)) < 1) return too_small(network_);
    INTAGLIO_ASSIGN(FeatureMap next, convolved(math, layer, *at));
    for (float& value : next.values) value = std::max(value, 0.0f);
    map = std::move(next);
    at = &map;
  }
  return map;
}

}  // namespace intaglio::towers
