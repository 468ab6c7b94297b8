#include "eval/image_metrics.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

namespace intaglio {
namespace {

constexpr int64_t kReach = 5;  // of the window, from its middle
constexpr int64_t kWindow = 2 * kReach + 1, kChannels = 3;
constexpr double kDeviation = 1.5;  // pixels
constexpr double kC1 = (0.01 * 255) * (0.01 * 255), kC2 = (0.03 * 255) * (0.03 * 255);
constexpr std::array<double, 5> kScaleWeights{0.0448, 0.2856, 0.3001, 0.2363, 0.1333};
constexpr int64_t kLeastSide = kWindow << (kScaleWeights.size() - 1);

// One channel, [height, width].
struct Plane {
  int64_t width = 0, height = 0;
  std::vector<double> values;
};

Plane channel_of(const RgbImage& image, int64_t channel) {
  Plane plane{image.width, image.height, {}};
  plane.values.resize(static_cast<size_t>(image.width * image.height));
  for (size_t i = 0; i < plane.values.size(); ++i)
    plane.values[i] = image.pixels[i * kChannels + static_cast<size_t>(channel)];
  return plane;
}

std::array<double, kWindow> gaussian() {
  std::array<double, kWindow> window{};
  double sum = 0.0;
  for (int64_t i = 0; i < kWindow; ++i) {
    const auto from_middle = static_cast<double>(i - kReach);
    window[static_cast<size_t>(i)] =
        std::exp(-from_middle * from_middle / (2 * kDeviation * kDeviation));
    sum += window[static_cast<size_t>(i)];
  }
  for (double& weight : window) weight /= sum;
  return window;
}

// The window's mean around every place where it lies inside.
Plane blur(const Plane& in) {
  static const std::array<double, kWindow> window = gaussian();
  Plane across{in.width - kWindow + 1, in.height, {}};
  across.values.assign(static_cast<size_t>(across.width * across.height), 0.0);
  for (int64_t y = 0; y < in.height; ++y) {
    const double* const row = in.values.data() + y * in.width;
    double* const out = across.values.data() + y * across.width;
    for (int64_t i = 0; i < kWindow; ++i)
      for (int64_t x = 0; x < across.width; ++x)
        out[x] += window[static_cast<size_t>(i)] * row[x + i];
  }
  Plane both{across.width, in.height - kWindow + 1, {}};
  both.values.assign(static_cast<size_t>(both.width * both.height), 0.0);
  for (int64_t y = 0; y < both.height; ++y) {
    double* const out = both.values.data() + y * both.width;
    for (int64_t i = 0; i < kWindow; ++i) {
      const double* const row = across.values.data() + (y + i) * across.width;
      for (int64_t x = 0; x < both.width; ++x) out[x] += window[static_cast<size_t>(i)] * row[x];
    }
  }
  return both;
}

Plane product(const Plane& a, const Plane& b) {
  Plane out{a.width, a.height, a.values};
  for (size_t i = 0; i < out.values.size(); ++i) out.values[i] *= b.values[i];
  return out;
}

// Means over all places.
struct Similarity {
  double whole = 0.0;               // luminance, contrast and structure
  double contrast_structure = 0.0;  // without the first
};

Similarity similarity(const Plane& a, const Plane& b) {
  const Plane mean_a = blur(a), mean_b = blur(b);
  const Plane aa = blur(product(a, a)), bb = blur(product(b, b)), ab = blur(product(a, b));
  Similarity sums;
  for (size_t i = 0; i < mean_a.values.size(); ++i) {
    const double ma = mean_a.values[i], mb = mean_b.values[i];
    const double variances = aa.values[i] - ma * ma + bb.values[i] - mb * mb;
    const double covariance = ab.values[i] - ma * mb;
    const double cs = (2 * covariance + kC2) / (variances + kC2);
    sums.contrast_structure += cs;
    sums.whole += cs * (2 * ma * mb + kC1) / (ma * ma + mb * mb + kC1);
  }
  const auto places = static_cast<double>(mean_a.values.size());
  return {sums.whole / places, sums.contrast_structure / places};
}

// Means of 2 x 2; a last odd row or column is left out.
Plane halved(const Plane& in) {
  Plane out{in.width / 2, in.height / 2, {}};
  out.values.resize(static_cast<size_t>(out.width * out.height));
  for (int64_t y = 0; y < out.height; ++y) {
    const double* const row = in.values.data() + 2 * y * in.width;
    for (int64_t x = 0; x < out.width; ++x)
      out.values[static_cast<size_t>(y * out.width + x)] =
          (row[2 * x] + row[2 * x + 1] + row[in.width + 2 * x] + row[in.width + 2 * x + 1]) / 4;
  }
  return out;
}

double multiscale_similarity(Plane a, Plane b) {
  double result = 1.0;
  for (size_t scale = 0; scale < kScaleWeights.size(); ++scale) {
    if (scale > 0) {
      a = halved(a);
      b = halved(b);
    }
    const Similarity here = similarity(a, b);
    const bool last = scale + 1 == kScaleWeights.size();
    const double mean = last ? here.whole : here.contrast_structure;
    result *= std::pow(std::max(mean, 0.0), kScaleWeights[scale]);
  }
  return result;
}

bool fits(const RgbImage& a, const RgbImage& b, int64_t least_side) {
  return a.width == b.width && a.height == b.height && std::min(a.width, a.height) >= least_side;
}

}  // namespace

double psnr(const RgbImage& a, const RgbImage& b) {
  uint64_t squares = 0;
  for (size_t i = 0; i < a.pixels.size(); ++i) {
    const int difference = int{a.pixels[i]} - int{b.pixels[i]};
    squares += static_cast<uint64_t>(difference * difference);
  }
  if (squares == 0) return kPsnrOfEqual;
  const double mean = static_cast<double>(squares) / static_cast<double>(a.pixels.size());
  return 10 * std::log10(255.0 * 255.0 / mean);
}

std::optional<double> ssim(const RgbImage& a, const RgbImage& b) {
  if (!fits(a, b, kWindow)) return std::nullopt;
  double sum = 0.0;
  for (int64_t c = 0; c < kChannels; ++c)
    sum += similarity(channel_of(a, c), channel_of(b, c)).whole;
  return sum / kChannels;
}

std::optional<double> ms_ssim(const RgbImage& a, const RgbImage& b) {
  if (!fits(a, b, kLeastSide)) return std::nullopt;
  double sum = 0.0;
  for (int64_t c = 0; c < kChannels; ++c)
    sum += multiscale_similarity(channel_of(a, c), channel_of(b, c));
  return sum / kChannels;
}

}  // namespace intaglio
