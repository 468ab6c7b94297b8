#include "pipeline/latent_preview.h"

#include <gtest/gtest.h>

#include "core/philox.h"
#include "pipeline/pipeline.h"

namespace intaglio {
namespace {

constexpr int64_t kGrid = 16, kUnit = 8, kChannels = 5;

// A picture whose colours are linear in its latents: red of the upper half of a token in the first
// channel, green of all of it in the second.
Picture linear_picture(uint64_t seed) {
  Picture picture;
  picture.latent_channels = kChannels;
  picture.latents.resize(kGrid * kGrid * kChannels);
  fill_normal(seed, picture.latents.data(), static_cast<int64_t>(picture.latents.size()));
  const int64_t side = kGrid * kUnit;
  picture.image.width = picture.image.height = side;
  picture.planar.assign(static_cast<size_t>(3 * side * side), 0.5f);
  for (int64_t y = 0; y < side; ++y) {
    for (int64_t x = 0; x < side; ++x) {
      const int64_t token = y / kUnit * kGrid + x / kUnit;
      const float* const latent = picture.latents.data() + token * kChannels;
      const auto pixel = static_cast<size_t>(y * side + x);
      if (y % kUnit < kUnit / 2) picture.planar[pixel] += 0.1f * latent[0];
      picture.planar[static_cast<size_t>(side * side) + pixel] -= 0.1f * latent[1];
    }
  }
  return picture;
}

TEST(LatentPreview, FindsTheMapThatPicturesAreMadeBy) {
  LatentPreview preview;
  EXPECT_FALSE(preview.ready());
  preview.learn(linear_picture(1), kGrid, kGrid);
  ASSERT_TRUE(preview.ready());
  const Picture other = linear_picture(2);
  const auto image = preview.draw(other.latents, kGrid, kGrid);
  ASSERT_TRUE(image.has_value());
  const int64_t side = kGrid * LatentPreview::kPlaces;
  ASSERT_EQ(image->width, side);
  ASSERT_EQ(image->height, side);
  for (int64_t y = 0; y < side; ++y) {
    for (int64_t x = 0; x < side; ++x) {
      const int64_t scale = kUnit / LatentPreview::kPlaces;
      for (int64_t colour = 0; colour < 3; ++colour) {
        const float truth = other.planar[static_cast<size_t>(
            (colour * kGrid * kUnit + y * scale) * kGrid * kUnit + x * scale)];
        // Rounding, and the ridge: a thousandth of 0.1 a channel.
        EXPECT_NEAR(image->pixels[static_cast<size_t>((y * side + x) * 3 + colour)], 255.0f * truth,
                    1.0f)
            << x << "," << y << " " << colour;
      }
    }
  }
}

TEST(LatentPreview, FewTokensAreNoHarm) {
  Picture picture = linear_picture(3);
  picture.latents.resize(kChannels);  // one token: fewer than unknowns
  picture.image.width = picture.image.height = kUnit;
  picture.planar.assign(static_cast<size_t>(3 * kUnit * kUnit), 0.25f);
  LatentPreview preview;
  preview.learn(picture, 1, 1);
  const auto image = preview.draw(picture.latents, 1, 1);
  ASSERT_TRUE(image.has_value());
  for (const uint8_t value : image->pixels) EXPECT_NEAR(value, 0.25 * 255, 1.5);
}

TEST(LatentPreview, RefusesLatentsOfAnotherSize) {
  LatentPreview preview;
  EXPECT_FALSE(preview.draw({}, 0, 0).has_value());
  preview.learn(linear_picture(1), kGrid, kGrid);
  const std::vector<float> latents(kChannels * 3);
  EXPECT_FALSE(preview.draw(latents, 2, 2).has_value());
}

}  // namespace
}  // namespace intaglio
