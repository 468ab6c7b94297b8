#include "models/init_picture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/model.h"
#include "models/step_mask.h"

namespace intaglio {
namespace {

using testing::ElementsAre;
using testing::StartsWith;

InitPicture grey(int64_t width, int64_t height) {
  InitPicture init;
  init.image = {.width = width,
                .height = height,
                .pixels = std::vector<uint8_t>(static_cast<size_t>(3 * width * height), 100)};
  return init;
}

// As the published pipelines count: int(max(steps - min(steps * strength, steps), 0)).
TEST(InitPicture, StrengthIsTheShareOfTheStepsThatRun) {
  EXPECT_EQ(skipped_steps(1.0, 20), 0);
  EXPECT_EQ(skipped_steps(0.6, 20), 8);
  EXPECT_EQ(skipped_steps(0.6, 5), 2);
  EXPECT_EQ(skipped_steps(0.35, 6), 3);  // 3.9
  EXPECT_EQ(skipped_steps(0.5, 1), 0);
  EXPECT_EQ(skipped_steps(1e-300, 7), 6);  // the last one always runs
}

TEST(InitPicture, MustFitItsPicture) {
  InitPicture init = grey(32, 16);
  EXPECT_TRUE(check_init_picture(init, 32, 16));
  EXPECT_THAT(check_init_picture(init, 16, 32).error().message, StartsWith("init picture: 32x16"));
  init.mask.assign(31, 0);
  EXPECT_THAT(check_init_picture(init, 32, 16).error().message, StartsWith("mask: 31 pixels"));
  init.mask.clear();
  for (const double strength : {0.0, -0.1, 1.01, std::nan("")}) {
    init.strength = strength;
    EXPECT_THAT(check_init_picture(init, 32, 16).error().message, StartsWith("strength "));
  }
  init.strength = 1.0;
  init.image.pixels.pop_back();
  EXPECT_FALSE(check_init_picture(init, 32, 16));
}

TEST(InitPicture, SkippedStepsLeaveAMaskThatComputesFirst) {
  Sampling sampling;
  sampling.passes = {{.transformer = 0, .text = 0}, {.transformer = 0, .text = 1}};
  for (int i = 0; i < 5; ++i)
    sampling.steps.push_back({.time = 0.2f * static_cast<float>(i),
                              .delta = 0.2f,
                              .weights = {2.0f, i < 3 ? 0.0f : 1.0f}});
  sampling.mask =
      StepMask{.name = "m", .passes = {*parse_pass_work("XX.rX"), *parse_pass_work("XX..X")}};
  skip_steps(2, sampling);
  EXPECT_EQ(sampling.skipped_steps, 2);
  ASSERT_EQ(sampling.steps.size(), 3u);
  EXPECT_FLOAT_EQ(sampling.steps.front().time, 0.4f);
  EXPECT_THAT(pass_work_texts(*sampling.mask), ElementsAre("XrX", ".XX"));
  EXPECT_TRUE(check_step_mask(*sampling.mask, sampling));
}

TEST(InitPicture, MasksShrinkToTheirMeans) {
  InitPicture init = grey(16, 8);
  EXPECT_TRUE(mean_mask(init, 8).empty());
  init.mask.assign(16 * 8, 0);
  for (size_t y = 0; y < 8; ++y)
    for (size_t x = 8; x < 16; ++x) init.mask[y * 16 + x] = 255;
  init.mask[0] = 51;  // a fifth of a pixel of 64
  EXPECT_THAT(mean_mask(init, 8), ElementsAre(0.2f / 64.0f, 1.0f));
}

TEST(InitPicture, GivenPixelsAreKeptToTheBit) {
  InitPicture init = grey(2, 2);
  RgbImage image{.width = 2, .height = 2, .pixels = std::vector<uint8_t>(12, 201)};
  std::vector<float> planar(12, 0.8f);
  keep_given_pixels(init, image, planar);
  EXPECT_THAT(image.pixels, testing::Each(201));
  init.mask = {0, 255, 51, 204};
  keep_given_pixels(init, image, planar);
  for (size_t c = 0; c < 3; ++c) {
    EXPECT_EQ(image.pixels[c], 100);
    EXPECT_EQ(image.pixels[3 + c], 201);
    EXPECT_EQ(image.pixels[6 + c], 120);  // 100 + 101 / 5
    EXPECT_EQ(image.pixels[9 + c], 181);
    EXPECT_FLOAT_EQ(planar[4 * c], 100.0f / 255.0f);
    EXPECT_FLOAT_EQ(planar[4 * c + 1], 0.8f);
  }
}

}  // namespace
}  // namespace intaglio
