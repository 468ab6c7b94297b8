#include "eval/image_metrics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/philox.h"

namespace intaglio {
namespace {

constexpr double kC1 = 6.5025, kC2 = 58.5225;  // (0.01 * 255)^2 and (0.03 * 255)^2

RgbImage flat(int64_t width, int64_t height, uint8_t value) {
  RgbImage image{width, height, {}};
  image.pixels.assign(static_cast<size_t>(3 * width * height), value);
  return image;
}

RgbImage noisy(int64_t width, int64_t height, uint64_t seed) {
  RgbImage image = flat(width, height, 0);
  for (size_t i = 0; i < image.pixels.size(); ++i) {
    const float value = 128.0f + 40.0f * normal_at(seed, i);
    image.pixels[i] = static_cast<uint8_t>(std::clamp(value, 0.0f, 255.0f));
  }
  return image;
}

// `image` with a share of `other` in it.
RgbImage mixed(const RgbImage& image, const RgbImage& other, double share) {
  RgbImage out = image;
  for (size_t i = 0; i < out.pixels.size(); ++i)
    out.pixels[i] =
        static_cast<uint8_t>(std::lround((1 - share) * image.pixels[i] + share * other.pixels[i]));
  return out;
}

// The definition: a window of 121 weights around every place, sums of two-dimensional moments.
double plain_ssim(const RgbImage& a, const RgbImage& b) {
  double sum = 0.0;
  int64_t places = 0;
  for (int64_t c = 0; c < 3; ++c)
    for (int64_t y = 5; y + 5 < a.height; ++y)
      for (int64_t x = 5; x + 5 < a.width; ++x, ++places) {
        double weights = 0, ma = 0, mb = 0, aa = 0, bb = 0, ab = 0;
        for (int64_t dy = -5; dy <= 5; ++dy)
          for (int64_t dx = -5; dx <= 5; ++dx) {
            const double w = std::exp(-static_cast<double>(dx * dx + dy * dy) / 4.5);
            const auto at = static_cast<size_t>(((y + dy) * a.width + x + dx) * 3 + c);
            const double va = a.pixels[at], vb = b.pixels[at];
            weights += w;
            ma += w * va;
            mb += w * vb;
            aa += w * va * va;
            bb += w * vb * vb;
            ab += w * va * vb;
          }
        ma /= weights;
        mb /= weights;
        const double va = aa / weights - ma * ma, vb = bb / weights - mb * mb;
        const double cov = ab / weights - ma * mb;
        sum +=
            (2 * ma * mb + kC1) * (2 * cov + kC2) / ((ma * ma + mb * mb + kC1) * (va + vb + kC2));
      }
  return sum / static_cast<double>(places);
}

TEST(Psnr, IsTheDefinition) {
  // A difference of 5 everywhere: 20 log10(255 / 5).
  EXPECT_NEAR(psnr(flat(4, 4, 100), flat(4, 4, 105)), 34.1514, 1e-4);
  RgbImage one = flat(4, 4, 100);
  one.pixels[7] = 0;  // 100^2 in one of 48 values
  EXPECT_NEAR(psnr(one, flat(4, 4, 100)), 10 * std::log10(65025.0 * 48 / 10000), 1e-9);
  EXPECT_EQ(psnr(one, one), kPsnrOfEqual);
}

TEST(Psnr, OfEqualPicturesIsAboveAllOthers) {
  RgbImage nearly = flat(256, 256, 100);
  nearly.pixels[0] = 101;
  EXPECT_LT(psnr(nearly, flat(256, 256, 100)), kPsnrOfEqual);
}

TEST(Ssim, IsTheDefinition) {
  const RgbImage a = noisy(23, 17, 1), b = mixed(a, noisy(23, 17, 2), 0.3);
  const auto value = ssim(a, b);
  ASSERT_TRUE(value);
  EXPECT_NEAR(*value, plain_ssim(a, b), 1e-9);
  EXPECT_GT(*value, 0.5);
  EXPECT_LT(*value, 0.99);
  EXPECT_NEAR(ssim(a, a).value(), 1.0, 1e-12);
}

TEST(Ssim, OfFlatPicturesIsTheirLuminance) {
  const double expected = (2 * 100.0 * 120.0 + kC1) / (100.0 * 100.0 + 120.0 * 120.0 + kC1);
  EXPECT_NEAR(ssim(flat(16, 16, 100), flat(16, 16, 120)).value(), expected, 1e-9);
}

TEST(Ssim, NeedsRoomForItsWindow) {
  EXPECT_FALSE(ssim(flat(10, 30, 1), flat(10, 30, 1)));
  EXPECT_TRUE(ssim(flat(11, 11, 1), flat(11, 11, 1)));
  EXPECT_FALSE(ssim(flat(20, 20, 1), flat(20, 30, 1)));
}

TEST(MsSsim, OfFlatPicturesIsTheirLuminanceAtTheLastScale) {
  const double luminance = (2 * 100.0 * 120.0 + kC1) / (100.0 * 100.0 + 120.0 * 120.0 + kC1);
  EXPECT_NEAR(ms_ssim(flat(176, 192, 100), flat(176, 192, 120)).value(),
              std::pow(luminance, 0.1333), 1e-9);
}

TEST(MsSsim, WeighsScalesAsPublished) {
  // Fine noise is gone at the smallest scale, so that coarse scales see less of it.
  const RgbImage a = noisy(176, 176, 1), b = mixed(a, noisy(176, 176, 2), 0.5);
  EXPECT_NEAR(ms_ssim(a, a).value(), 1.0, 1e-12);
  EXPECT_GT(ms_ssim(a, b).value(), ssim(a, b).value());
  EXPECT_LT(ms_ssim(a, b).value(), 1.0);
  // Opposite pictures: a negative mean counts as 0.
  RgbImage opposite = a;
  for (uint8_t& value : opposite.pixels) value = static_cast<uint8_t>(255 - value);
  EXPECT_EQ(ms_ssim(a, opposite).value(), 0.0);
}

TEST(MsSsim, NeedsRoomForItsWindowAtTheSmallestScale) {
  EXPECT_FALSE(ms_ssim(flat(175, 176, 1), flat(175, 176, 1)));
  EXPECT_TRUE(ms_ssim(flat(176, 176, 1), flat(176, 176, 1)));
}

}  // namespace
}  // namespace intaglio
