// The convolutions of AlexNet (Krizhevsky, "One weird trick for parallelizing convolutional neural
// networks", 2014) and VGG16 (Simonyan, Zisserman, 2014), cut where LPIPS looks at them.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "eval/towers/tower_math.h"

namespace intaglio::towers {

// Channels last: [height, width, channels].
struct FeatureMap {
  int64_t height = 0, width = 0, channels = 0;
  std::vector<float> values;
};

class ConvFeatures {
 public:
  // Tensors "features.N.weight" and ".bias", N as torchvision counts, or "net.sliceK.N.*" as LPIPS
  // has them. Which of the two networks it is, the tensors say; so do they its widths. kNotFound
  // where they are neither.
  static Expected<ConvFeatures> read(const TowerWeights& source);

  std::string_view network() const { return network_; }  // "alex", "vgg"
  // 5 of each: the convolutions up to a place where LPIPS looks, each behind its ReLU.
  size_t slices() const { return slices_.size(); }
  int64_t channels(size_t slice) const { return slices_[slice].back().weights.outputs; }
  // What slice `i` makes of what the slice before made: of the picture for the first.
  // kInvalidArgument where that is too small to be pooled.
  Expected<FeatureMap> run(TowerMath& math, size_t slice, const FeatureMap& in) const;

 private:
  struct Window {
    int64_t kernel = 1, stride = 1, padding = 0;
    int64_t outputs(int64_t side) const { return (side + 2 * padding - kernel) / stride + 1; }
  };
  struct Layer {
    Window pool;  // before the convolution; kernel 1: none
    Window window;
    int64_t inputs = 0;    // channels
    DenseWeights weights;  // [outputs, kernel * kernel * inputs]
  };
  struct Plan;

  static const Plan& plan_of(bool vgg);
  static Expected<Layer> read_layer(const TowerWeights& source, size_t slice, int64_t index,
                                    const Window& window, int64_t inputs);
  static FeatureMap pooled(const Window& pool, const FeatureMap& in);
  static Expected<FeatureMap> convolved(TowerMath& math, const Layer& layer, const FeatureMap& in);

  std::string_view network_;
  std::vector<std::vector<Layer>> slices_;
};

}  // namespace intaglio::towers
