#include "eval/towers/picture_input.h"

#include <algorithm>
#include <cmath>

namespace intaglio::towers {
namespace {

constexpr int kBits = 22;  // after the point of a weight
constexpr double kReach = 2.0, kSharpness = -0.5;

// Keys' cubic convolution.
double cubic(double x) {
  x = std::abs(x);
  if (x < 1.0) return ((kSharpness + 2.0) * x - (kSharpness + 3.0)) * x * x + 1;
  if (x < kReach) return (((x - 5.0) * x + 8.0) * x - 4.0) * kSharpness;
  return 0.0;
}

// Which values of a row make one of the new row, and their shares in units of 2^-22.
struct Taps {
  int64_t first = 0;
  std::vector<int64_t> shares;
};

std::vector<Taps> taps_of(int64_t from, int64_t to) {
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  const double stretch = std::max(scale, 1.0), reach = kReach * stretch;
  std::vector<Taps> all;
  for (int64_t i = 0; i < to; ++i) {
    const double middle = (static_cast<double>(i) + 0.5) * scale;
    Taps taps;
    taps.first = std::max<int64_t>(static_cast<int64_t>(std::floor(middle - reach + 0.5)), 0);
    const int64_t end = std::min(static_cast<int64_t>(std::floor(middle + reach + 0.5)), from);
    std::vector<double> weights;
    double sum = 0.0;
    for (int64_t at = taps.first; at < end; ++at) {
      weights.push_back(cubic((static_cast<double>(at) - middle + 0.5) * (1.0 / stretch)));
      sum += weights.back();
    }
    for (const double weight : weights) {
      const double share = (sum != 0.0 ? weight / sum : weight) * (1 << kBits);
      taps.shares.push_back(std::llround(share));
    }
    all.push_back(std::move(taps));
  }
  return all;
}

// The sum of taps over values `stride` bytes apart, rounded to a byte.
uint8_t weighted(const Taps& taps, const uint8_t* values, int64_t stride) {
  int64_t sum = int64_t{1} << (kBits - 1);
  for (size_t i = 0; i < taps.shares.size(); ++i)
    sum += taps.shares[i] * values[(taps.first + static_cast<int64_t>(i)) * stride];
  return static_cast<uint8_t>(std::clamp<int64_t>(sum >> kBits, 0, 255));
}

RgbImage blank(int64_t width, int64_t height) {
  return {width, height, std::vector<uint8_t>(static_cast<size_t>(3 * width * height))};
}

RgbImage resize_rows(const RgbImage& in, int64_t width) {
  if (width == in.width) return in;
  const std::vector<Taps> taps = taps_of(in.width, width);
  RgbImage out = blank(width, in.height);
  for (int64_t y = 0; y < in.height; ++y)
    for (int64_t x = 0; x < width; ++x)
      for (int64_t c = 0; c < 3; ++c)
        out.pixels[static_cast<size_t>((y * width + x) * 3 + c)] =
            weighted(taps[static_cast<size_t>(x)], in.pixels.data() + y * in.width * 3 + c, 3);
  return out;
}

RgbImage resize_columns(const RgbImage& in, int64_t height) {
  if (height == in.height) return in;
  const std::vector<Taps> taps = taps_of(in.height, height);
  RgbImage out = blank(in.width, height);
  const int64_t stride = in.width * 3;
  for (int64_t y = 0; y < height; ++y)
    for (int64_t i = 0; i < stride; ++i)
      out.pixels[static_cast<size_t>(y * stride + i)] =
          weighted(taps[static_cast<size_t>(y)], in.pixels.data() + i, stride);
  return out;
}

// Where the middle of `crop` pixels begins.
int64_t crop_begin(int64_t side, int64_t crop, CropRule rule) {
  const int64_t rest = side - crop, half = rest / 2;
  const bool up = rule == CropRule::kHalfEven && rest % 2 == 1 && half % 2 == 1;
  return half + (up ? 1 : 0);
}

}  // namespace

RgbImage resize_bicubic(const RgbImage& image, int64_t width, int64_t height) {
  return resize_columns(resize_rows(image, width), height);
}

Pixels tower_input(const RgbImage& picture, const PictureRule& rule) {
  const int64_t shorter = std::min(picture.width, picture.height);
  const auto side = [&](int64_t length) {
    return static_cast<int64_t>(static_cast<double>(rule.shortest * length) /
                                static_cast<double>(shorter));
  };
  const RgbImage resized = resize_bicubic(picture, side(picture.width), side(picture.height));
  const int64_t left = crop_begin(resized.width, rule.crop, rule.rule);
  const int64_t top = crop_begin(resized.height, rule.crop, rule.rule);
  Pixels out{rule.crop, rule.crop, {}};
  out.values.resize(static_cast<size_t>(3 * rule.crop * rule.crop));
  for (size_t c = 0; c < 3; ++c)
    for (int64_t y = 0; y < rule.crop; ++y)
      for (int64_t x = 0; x < rule.crop; ++x) {
        const auto from = static_cast<size_t>(((top + y) * resized.width + left + x) * 3) + c;
        const auto to = (c * static_cast<size_t>(rule.crop) + static_cast<size_t>(y)) *
                            static_cast<size_t>(rule.crop) +
                        static_cast<size_t>(x);
        out.values[to] =
            static_cast<float>((resized.pixels[from] / 255.0 - rule.mean[c]) / rule.deviation[c]);
      }
  return out;
}

}  // namespace intaglio::towers
