// LPIPS (Zhang, Isola, Efros, Shechtman, Wang, "The Unreasonable Effectiveness of Deep Features as
// a Perceptual Metric", CVPR 2018), version 0.1: how far the features of two pictures are apart.
#pragma once

#include <atomic>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "eval/towers/conv_features.h"
#include "io/png.h"

namespace intaglio::towers {

class Lpips {
 public:
  // One or two safetensors files with the features (eval/towers/conv_features.h) and the five
  // layers of weights "linK.model.1.weight" [1, channels, 1, 1] that LPIPS adds. `host`: a context
  // of the CPU.
  static Expected<Lpips> open(const Context& host, std::span<const std::filesystem::path> files);

  std::string_view network() const { return features_.network(); }  // "alex", "vgg"
  // Of the weights: 16 hexadecimal digits.
  Expected<std::string> hash(const std::atomic<bool>* cancel) const { return source_.hash(cancel); }

  // Values in [0, 255] become [-1, 1], then (value - shift) / scale, channel by channel. At each of
  // five depths features are divided by their length (+ 1e-10) over the channels; the distance is
  // sum over depths, mean over places, of sum over channels weight * (a - b)^2. 0 for equal
  // pictures. kInvalidArgument for pictures of two sizes or too small.
  Expected<double> distance(const RgbImage& a, const RgbImage& b);
  // The same, depth by depth.
  Expected<std::vector<double>> distances(const RgbImage& a, const RgbImage& b);

 private:
  Lpips(const Context& host, TowerWeights source) : math_(host), source_(std::move(source)) {}

  TowerMath math_;
  TowerWeights source_;
  ConvFeatures features_;
  std::vector<std::vector<float>> heads_;  // by depth, [channels]
};

}  // namespace intaglio::towers
