#include "pipeline/finish_picture.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace intaglio {
namespace {

// Two pixels, planes one after the other: red, green, blue.
TEST(FinishPicture, MapsClampsAndRounds) {
  std::vector<float> planar{-1.0f, 1.0f, 0.0f, 3.0f, -2.0f, 0.5f};
  const RgbImage image = finish_picture({.threads = 2, .cpu = {}}, 2, 1, planar).value();
  EXPECT_EQ(planar, (std::vector<float>{0.0f, 1.0f, 0.5f, 1.0f, 0.0f, 0.75f}));
  // 0.5 * 255 = 127.5 and 0.75 * 255 = 191.25: half goes to even.
  EXPECT_EQ(image.pixels, (std::vector<uint8_t>{0, 128, 0, 255, 255, 191}));
  EXPECT_EQ(image.width, 2);
  EXPECT_EQ(image.height, 1);
}

// In any channel, at any pixel, on any thread: no picture.
TEST(FinishPicture, ValuesThatAreNotFiniteAreAnError) {
  constexpr int64_t kWidth = 300, kHeight = 120;
  const float inf = std::numeric_limits<float>::infinity();
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), inf, -inf}) {
    for (const size_t at : {size_t{0}, size_t{40000}, size_t{3 * kWidth * kHeight - 1}}) {
      std::vector<float> planar(3 * kWidth * kHeight, 0.25f);
      planar[at] = bad;
      const auto image = finish_picture({.threads = 2, .cpu = {}}, kWidth, kHeight, planar);
      ASSERT_FALSE(image) << bad << " at " << at;
      EXPECT_NE(image.error().message.find("VAE"), std::string::npos);
    }
  }
  // The greatest finite values are clamped like others.
  std::vector<float> planar{std::numeric_limits<float>::max(), -std::numeric_limits<float>::max(),
                            0.0f};
  EXPECT_TRUE(finish_picture({.threads = 1, .cpu = {}}, 1, 1, planar));
}

}  // namespace
}  // namespace intaglio
