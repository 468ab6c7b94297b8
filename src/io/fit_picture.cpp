#include "io/fit_picture.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace intaglio {
namespace {

constexpr double kLobes = 3.0;
constexpr double kDeviations = 3.0;  // of a Gaussian that count

// What of one side is seen: `length` pixels from `begin` on.
struct Window {
  double begin = 0.0, length = 0.0;
};

Window window_of(int64_t side, int64_t other_side, int64_t target, int64_t other_target) {
  const double scale =
      std::max(static_cast<double>(target) / static_cast<double>(side),
               static_cast<double>(other_target) / static_cast<double>(other_side));
  const double length = std::min(static_cast<double>(target) / scale, static_cast<double>(side));
  return {(static_cast<double>(side) - length) / 2.0, length};
}

double lanczos(double x) {
  if (x == 0.0) return 1.0;
  if (std::abs(x) >= kLobes) return 0.0;
  const double angle = std::numbers::pi * x;
  return kLobes * std::sin(angle) * std::sin(angle / kLobes) / (angle * angle);
}

// Which pixels of a side make one, and their shares.
struct Taps {
  int64_t first = 0;
  std::vector<float> shares;
};

std::vector<Taps> taps_of(const Window& window, int64_t side, int64_t target) {
  const double scale = window.length / static_cast<double>(target);
  const double stretch = std::max(scale, 1.0), reach = kLobes * stretch;
  std::vector<Taps> all(static_cast<size_t>(target));
  for (int64_t i = 0; i < target; ++i) {
    const double middle = window.begin + (static_cast<double>(i) + 0.5) * scale;
    Taps& taps = all[static_cast<size_t>(i)];
    taps.first = std::max<int64_t>(static_cast<int64_t>(std::floor(middle - reach)), 0);
    const int64_t end = std::min(static_cast<int64_t>(std::ceil(middle + reach)), side);
    double sum = 0.0;
    std::vector<double> weights;
    for (int64_t at = taps.first; at < end; ++at) {
      weights.push_back(lanczos((static_cast<double>(at) + 0.5 - middle) / stretch));
      sum += weights.back();
    }
    for (const double weight : weights) taps.shares.push_back(static_cast<float>(weight / sum));
  }
  return all;
}

// Of each place of a side, the pixel that is nearest to it.
std::vector<int64_t> nearest_of(const Window& window, int64_t side, int64_t target) {
  std::vector<int64_t> all(static_cast<size_t>(target));
  for (int64_t i = 0; i < target; ++i) {
    const double middle =
        window.begin + (static_cast<double>(i) + 0.5) * window.length / static_cast<double>(target);
    all[static_cast<size_t>(i)] =
        std::clamp<int64_t>(static_cast<int64_t>(std::floor(middle)), 0, side - 1);
  }
  return all;
}

template <typename Image, typename ValueOf>
std::vector<uint8_t> nearest_values(const Image& image, int64_t width, int64_t height,
                                    size_t channels, ValueOf&& value_of) {
  const std::vector<int64_t> columns =
      nearest_of(window_of(image.width, image.height, width, height), image.width, width);
  const std::vector<int64_t> rows =
      nearest_of(window_of(image.height, image.width, height, width), image.height, height);
  std::vector<uint8_t> mask;
  mask.reserve(static_cast<size_t>(width * height));
  for (const int64_t y : rows)
    for (const int64_t x : columns)
      mask.push_back(
          value_of(image.pixels.data() + static_cast<size_t>(y * image.width + x) * channels));
  return mask;
}

uint8_t to_byte(float value) {
  return static_cast<uint8_t>(std::clamp(std::lround(value), 0L, 255L));
}

// Sums along a line of `count` values `stride` apart; the last value goes on beyond its end.
void blur_line(uint8_t* line, int64_t count, int64_t stride, const std::vector<float>& half,
               std::vector<uint8_t>& copy) {
  copy.resize(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) copy[static_cast<size_t>(i)] = line[i * stride];
  const auto at = [&](int64_t i) {
    return static_cast<float>(copy[static_cast<size_t>(std::clamp<int64_t>(i, 0, count - 1))]);
  };
  for (int64_t i = 0; i < count; ++i) {
    float sum = half[0] * at(i);
    for (int64_t k = 1; k < static_cast<int64_t>(half.size()); ++k)
      sum += half[static_cast<size_t>(k)] * (at(i - k) + at(i + k));
    line[i * stride] = to_byte(sum);
  }
}

}  // namespace

RgbImage fit_picture(const RgbImage& image, int64_t width, int64_t height) {
  if (image.width == width && image.height == height) return image;
  const std::vector<Taps> columns =
      taps_of(window_of(image.width, image.height, width, height), image.width, width);
  const std::vector<Taps> rows =
      taps_of(window_of(image.height, image.width, height, width), image.height, height);
  const auto row_values = static_cast<size_t>(image.width * 3);
  std::vector<float> row(row_values);
  RgbImage out{width, height, {}};
  out.pixels.reserve(static_cast<size_t>(width * height * 3));
  for (const Taps& down : rows) {
    std::fill(row.begin(), row.end(), 0.0f);
    for (size_t k = 0; k < down.shares.size(); ++k) {
      const uint8_t* const from =
          image.pixels.data() + (static_cast<size_t>(down.first) + k) * row_values;
      for (size_t i = 0; i < row_values; ++i) row[i] += down.shares[k] * from[i];
    }
    for (const Taps& across : columns) {
      float sum[3] = {};
      const float* from = row.data() + across.first * 3;
      for (const float share : across.shares) {
        for (size_t c = 0; c < 3; ++c) sum[c] += share * from[c];
        from += 3;
      }
      for (const float value : sum) out.pixels.push_back(to_byte(value));
    }
  }
  return out;
}

std::vector<uint8_t> mask_of(const RgbImage& image, int64_t width, int64_t height) {
  return nearest_values(image, width, height, 3, [](const uint8_t* rgb) {
    return static_cast<uint8_t>((299 * rgb[0] + 587 * rgb[1] + 114 * rgb[2] + 500) / 1000);
  });
}

std::vector<uint8_t> mask_of_transparency(const RgbaImage& image, int64_t width, int64_t height) {
  return nearest_values(image, width, height, 4,
                        [](const uint8_t* rgba) { return static_cast<uint8_t>(255 - rgba[3]); });
}

void blur_mask(std::vector<uint8_t>& mask, int64_t width, int64_t height, double deviation) {
  if (!(deviation > 0.0)) return;
  std::vector<float> half;
  double sum = 0.0;
  for (int k = 0; k <= static_cast<int>(std::ceil(kDeviations * deviation)); ++k) {
    const double weight = std::exp(-0.5 * k * k / (deviation * deviation));
    half.push_back(static_cast<float>(weight));
    sum += k == 0 ? weight : 2.0 * weight;
  }
  for (float& weight : half) weight = static_cast<float>(weight / sum);
  std::vector<uint8_t> copy;
  for (int64_t y = 0; y < height; ++y) blur_line(mask.data() + y * width, width, 1, half, copy);
  for (int64_t x = 0; x < width; ++x) blur_line(mask.data() + x, height, width, half, copy);
}

}  // namespace intaglio
