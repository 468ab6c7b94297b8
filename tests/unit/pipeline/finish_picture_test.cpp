#include "pipeline/finish_picture.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace intaglio {
namespace {

// Two pixels, planes one after the other: red, green, blue.
TEST(FinishPicture, MapsClampsAndRounds) {
  std::vector<float> planar{-1.0f, 1.0f, 0.0f, 3.0f, -2.0f, 0.5f};
  const RgbImage image = finish_picture({.threads = 2, .cpu = {}}, 2, 1, planar);
  EXPECT_EQ(planar, (std::vector<float>{0.0f, 1.0f, 0.5f, 1.0f, 0.0f, 0.75f}));
  // 0.5 * 255 = 127.5 and 0.75 * 255 = 191.25: half goes to even.
  EXPECT_EQ(image.pixels, (std::vector<uint8_t>{0, 128, 0, 255, 255, 191}));
  EXPECT_EQ(image.width, 2);
  EXPECT_EQ(image.height, 1);
}

TEST(FinishPicture, NanStaysToBeSeenAndIsBlack) {
  std::vector<float> planar{std::numeric_limits<float>::quiet_NaN(), 1.0f, 1.0f};
  const RgbImage image = finish_picture({.threads = 1, .cpu = {}}, 1, 1, planar);
  EXPECT_TRUE(std::isnan(planar[0]));
  EXPECT_EQ(image.pixels, (std::vector<uint8_t>{0, 255, 255}));
}

}  // namespace
}  // namespace intaglio
