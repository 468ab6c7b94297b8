#include "eval/towers/lpips.h"

#include <fmt/format.h>

#include <array>
#include <cmath>

namespace intaglio::towers {
namespace {

constexpr std::array<double, 3> kShift{-0.030, -0.088, -0.188}, kScale{0.458, 0.448, 0.450};
constexpr double kLeastLength = 1e-10;

FeatureMap network_input(const RgbImage& picture) {
  FeatureMap map{picture.height, picture.width, 3, {}};
  map.values.resize(picture.pixels.size());
  for (size_t i = 0; i < map.values.size(); ++i)
    map.values[i] =
        static_cast<float>((picture.pixels[i] / 127.5 - 1.0 - kShift[i % 3]) / kScale[i % 3]);
  return map;
}

double length_of(const float* x, int64_t count) {
  double sum = 0.0;
  for (int64_t i = 0; i < count; ++i) sum += double{x[i]} * double{x[i]};
  return std::sqrt(sum) + kLeastLength;
}

double weighted_distance(const FeatureMap& a, const FeatureMap& b, const std::vector<float>& head) {
  const int64_t places = a.height * a.width;
  double sum = 0.0;
  for (int64_t p = 0; p < places; ++p) {
    const float* const x = a.values.data() + p * a.channels;
    const float* const y = b.values.data() + p * a.channels;
    const double in_x = 1 / length_of(x, a.channels), in_y = 1 / length_of(y, a.channels);
    for (int64_t c = 0; c < a.channels; ++c) {
      const double difference = x[c] * in_x - y[c] * in_y;
      sum += double{head[static_cast<size_t>(c)]} * difference * difference;
    }
  }
  return sum / static_cast<double>(places);
}

}  // namespace

Expected<Lpips> Lpips::open(const Context& host, std::span<const std::filesystem::path> files) {
  INTAGLIO_ASSIGN(TowerWeights source, TowerWeights::open(files));
  Lpips lpips(host, std::move(source));
  INTAGLIO_ASSIGN(lpips.features_, ConvFeatures::read(lpips.source_));
  for (size_t depth = 0; depth < lpips.features_.slices(); ++depth) {
    const std::vector<std::string> names{fmt::format("lin{}.model.1.weight", depth),
                                         fmt::format("lins.{}.model.1.weight", depth),
                                         fmt::format("lin{}.model.0.weight", depth)};
    const std::string name = lpips.source_.find(names).value_or(names.front());
    INTAGLIO_ASSIGN(std::vector<float> head,
                    lpips.source_.read(name, {1, lpips.features_.channels(depth), 1, 1}));
    lpips.heads_.push_back(std::move(head));
  }
  return lpips;
}

Expected<std::vector<double>> Lpips::distances(const RgbImage& a, const RgbImage& b) {
  if (a.width != b.width || a.height != b.height)
    return make_error(ErrorCode::kInvalidArgument,
                      "pictures of {}x{} and {}x{} pixels, expected one size", a.width, a.height,
                      b.width, b.height);
  FeatureMap x = network_input(a), y = network_input(b);
  std::vector<double> distances;
  for (size_t depth = 0; depth < features_.slices(); ++depth) {
    INTAGLIO_ASSIGN(x, features_.run(math_, depth, x));
    INTAGLIO_ASSIGN(y, features_.run(math_, depth, y));
    distances.push_back(weighted_distance(x, y, heads_[depth]));
  }
  return distances;
}

Expected<double> Lpips::distance(const RgbImage& a, const RgbImage& b) {
  INTAGLIO_ASSIGN(const std::vector<double> all, distances(a, b));
  double sum = 0.0;
  for (const double one : all) sum += one;
  return sum;
}

}  // namespace intaglio::towers
