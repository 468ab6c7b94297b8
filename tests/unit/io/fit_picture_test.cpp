#include "io/fit_picture.h"

#include <gtest/gtest.h>

#include <numeric>

namespace intaglio {
namespace {

RgbImage filled(int64_t width, int64_t height, uint8_t value) {
  return {width, height, std::vector<uint8_t>(static_cast<size_t>(width * height * 3), value)};
}

void set(RgbImage& image, int64_t x, int64_t y, uint8_t value) {
  for (int64_t c = 0; c < 3; ++c)
    image.pixels[static_cast<size_t>((y * image.width + x) * 3 + c)] = value;
}

uint8_t at(const RgbImage& image, int64_t x, int64_t y) {
  return image.pixels[static_cast<size_t>((y * image.width + x) * 3)];
}

TEST(FitPicture, LeavesThatSizeAsItIs) {
  RgbImage image = filled(5, 3, 0);
  std::iota(image.pixels.begin(), image.pixels.end(), uint8_t{1});
  EXPECT_EQ(fit_picture(image, 5, 3).pixels, image.pixels);
}

TEST(FitPicture, KeepsOneColourAtEverySize) {
  for (const auto& [width, height] :
       {std::pair<int64_t, int64_t>{1, 1}, {3, 50}, {64, 64}, {200, 7}}) {
    const RgbImage fitted = fit_picture(filled(31, 17, 93), width, height);
    EXPECT_EQ(fitted.width, width);
    EXPECT_EQ(fitted.height, height);
    EXPECT_EQ(fitted.pixels, filled(width, height, 93).pixels);
  }
}

TEST(FitPicture, ShrinksByMeans) {
  RgbImage stripes = filled(64, 64, 0);
  for (int64_t y = 0; y < 64; ++y)
    for (int64_t x = 1; x < 64; x += 2) set(stripes, x, y, 200);
  const RgbImage small = fit_picture(stripes, 8, 8);
  for (const uint8_t value : small.pixels) EXPECT_NEAR(value, 100, 4);
}

TEST(FitPicture, CutsTheMiddleOutOfAWiderPicture) {
  RgbImage wide = filled(90, 30, 10);
  for (int64_t y = 0; y < 30; ++y)
    for (int64_t x = 30; x < 60; ++x) set(wide, x, y, 250);
  const RgbImage middle = fit_picture(wide, 30, 30);
  EXPECT_EQ(middle.width, 30);
  EXPECT_EQ(at(middle, 0, 0), 250);
  EXPECT_EQ(at(middle, 29, 29), 250);
  const RgbImage turned = fit_picture(wide, 45, 15);
  EXPECT_EQ(at(turned, 2, 7), 10);
  EXPECT_EQ(at(turned, 22, 7), 250);
  EXPECT_EQ(at(turned, 42, 7), 10);
}

TEST(FitPicture, CutsTheMiddleOutOfATallerPicture) {
  RgbImage tall = filled(10, 40, 0);
  for (int64_t x = 0; x < 10; ++x) set(tall, x, 20, 255);
  const RgbImage fitted = fit_picture(tall, 10, 10);
  EXPECT_EQ(at(fitted, 5, 5), 255);
  EXPECT_EQ(at(fitted, 5, 9), 0);
}

TEST(MaskOf, IsHowBrightAPixelIs) {
  RgbImage image = filled(4, 1, 0);
  set(image, 1, 0, 255);
  image.pixels[6] = 255;   // red
  image.pixels[11] = 255;  // blue
  EXPECT_EQ(mask_of(image, 4, 1), (std::vector<uint8_t>{0, 255, 76, 29}));
}

TEST(MaskOf, ScalesWithoutNewValuesAndFitsAsPicturesDo) {
  RgbImage image = filled(6, 2, 0);
  for (int64_t x = 2; x < 4; ++x)
    for (int64_t y = 0; y < 2; ++y) set(image, x, y, 255);
  EXPECT_EQ(mask_of(image, 2, 2), std::vector<uint8_t>(4, 255));
  EXPECT_EQ(mask_of(image, 3, 1), (std::vector<uint8_t>{0, 255, 0}));
  const std::vector<uint8_t> large = mask_of(image, 12, 4);
  for (size_t i = 0; i < large.size(); ++i)
    EXPECT_EQ(large[i], i % 12 >= 4 && i % 12 < 8 ? 255 : 0) << i;
}

TEST(MaskOf, TransparencyIsWhatIsMissingOfAlpha) {
  const RgbaImage image{3, 1, {9, 9, 9, 0, 9, 9, 9, 255, 9, 9, 9, 55}};
  EXPECT_EQ(mask_of_transparency(image, 3, 1), (std::vector<uint8_t>{255, 0, 200}));
}

TEST(BlurMask, SoftensEdgesAndKeepsPlainParts) {
  std::vector<uint8_t> mask(40 * 40, 0);
  for (size_t i = 0; i < mask.size(); ++i)
    if (i % 40 >= 20) mask[i] = 255;
  std::vector<uint8_t> same = mask;
  blur_mask(same, 40, 40, 0.0);
  EXPECT_EQ(same, mask);
  blur_mask(mask, 40, 40, 2.0);
  EXPECT_EQ(mask[0], 0);
  EXPECT_EQ(mask[39], 255);
  EXPECT_NEAR(mask[20 * 40 + 19], 102, 3);
  EXPECT_NEAR(mask[20 * 40 + 20], 153, 3);
  for (size_t x = 1; x < 40; ++x) EXPECT_GE(mask[20 * 40 + x], mask[20 * 40 + x - 1]);
}

}  // namespace
}  // namespace intaglio
