#include "pipeline/half_band.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "core/philox.h"
#include "core/relative_error.h"

namespace intaglio {
namespace {

constexpr int64_t kGridH = 6, kGridW = 10, kChannels = 8, kTokens = kGridH * kGridW;
// Sums of at most 20 products of numbers of about 1 in F32.
constexpr double kRounding = 5e-7;

std::vector<float> noise(int64_t values, uint64_t seed) {
  std::vector<float> made(static_cast<size_t>(values));
  fill_normal(seed, made.data(), values);
  return made;
}

using autoencoder::LatentPacking;

HalfBand band(int threads = 1) {
  return {kGridH, kGridW, kChannels, LatentPacking::kChannelFastest, threads};
}

// Planes [2 grid_h, 2 grid_w] of `value(plane, y, x)`, packed to tokens [2, 2, planes].
template <typename Fn>
std::vector<float> packed(int64_t grid_h, int64_t grid_w, Fn value) {
  std::vector<float> latents;
  for (int64_t row = 0; row < grid_h; ++row)
    for (int64_t column = 0; column < grid_w; ++column)
      for (int64_t y = 2 * row; y < 2 * row + 2; ++y)
        for (int64_t x = 2 * column; x < 2 * column + 2; ++x)
          for (int64_t plane = 0; plane < kChannels / 4; ++plane)
            latents.push_back(static_cast<float>(value(plane, y, x)));
  return latents;
}

double mean_square(const std::vector<float>& values) {
  double sum = 0.0;
  for (const float v : values) sum += double{v} * v;
  return sum / static_cast<double>(values.size());
}

TEST(HalfBand, APlaneOfOneValueBecomesOneOfTwice) {
  const auto of_plane = [](int64_t plane, int64_t, int64_t) { return 1.5 - 2.0 * plane; };
  const std::vector<float> half = band().low(packed(kGridH, kGridW, of_plane));
  const auto twice = [&](int64_t plane, int64_t y, int64_t x) { return 2 * of_plane(plane, y, x); };
  EXPECT_LT(relative_error(half, packed(kGridH / 2, kGridW / 2, twice)), kRounding);
}

// A cosine of the transform with half the samples is the same cosine; those of the upper half of
// the frequencies are no more.
TEST(HalfBand, FrequenciesStayWhatTheyAreOrGo) {
  const auto wave = [](int64_t down, int64_t across, double size) {
    return [=](int64_t plane, int64_t y, int64_t x) {
      const auto cosine = [&](int64_t k, int64_t i, double n) {
        return std::cos(std::numbers::pi * static_cast<double>(k * (2 * i + 1)) / (2 * n));
      };
      return static_cast<double>(plane + 1) * cosine(down, y, 2 * kGridH * size) *
             cosine(across, x, 2 * kGridW * size);
    };
  };
  for (int64_t down = 0; down < 2 * kGridH; ++down) {
    for (int64_t across = 0; across < 2 * kGridW; ++across) {
      const std::vector<float> half = band().low(packed(kGridH, kGridW, wave(down, across, 1.0)));
      if (down >= kGridH || across >= kGridW) {
        EXPECT_LT(mean_square(half), 1e-11) << down << ", " << across;
        continue;
      }
      std::vector<float> expected = packed(kGridH / 2, kGridW / 2, wave(down, across, 0.5));
      for (float& v : expected) v *= 2;
      EXPECT_LT(relative_error(half, expected), 2 * kRounding) << down << ", " << across;
    }
  }
}

TEST(HalfBand, UpAndDownIsTheSameAndKeepsTheNorm) {
  const std::vector<float> half = noise(kTokens / 4 * kChannels, 3);
  const std::vector<float> raised = band().raised(half);
  EXPECT_NEAR(mean_square(raised) * 4, mean_square(half), 1e-6);
  EXPECT_LT(relative_error(band().low(raised), half), 2 * kRounding);
}

TEST(HalfBand, WhiteNoiseStaysWhite) {
  constexpr int64_t kGrid = 32, kMany = 64;
  const std::vector<float> half = HalfBand(kGrid, kGrid, kMany, LatentPacking::kChannelFastest, 1)
                                      .low(noise(kGrid * kGrid * kMany, 7));
  // 16,384 values: the mean square is within 4 of its deviations, sqrt(2 / 16384), of 1.
  ASSERT_EQ(half.size(), 16384u);
  EXPECT_NEAR(mean_square(half), 1.0, 4 * std::sqrt(2.0 / 16384));
  double mean = 0.0, neighbours = 0.0;
  const size_t planes = kMany / 4;
  for (size_t i = 0; i < half.size(); ++i) {
    mean += half[i] / 16384;
    // Places 0 and 1 of a token, beside each other in a plane.
    if (i % kMany < planes) neighbours += double{half[i]} * half[i + planes] / 4096;
  }
  EXPECT_NEAR(mean, 0.0, 4 / std::sqrt(16384.0));
  EXPECT_NEAR(neighbours, 0.0, 4 / std::sqrt(4096.0));
}

// Channel c * 4 + corner of a token in place of corner * planes + c.
TEST(HalfBand, PlanesPackedSlowestAreTheSame) {
  const auto slowest = [](const std::vector<float>& latents) {
    constexpr int64_t kPlanes = kChannels / 4;
    std::vector<float> out(latents.size());
    for (size_t i = 0; i < latents.size(); ++i) {
      const auto channel = static_cast<int64_t>(i) % kChannels;
      out[i - static_cast<size_t>(channel) +
          static_cast<size_t>(channel % kPlanes * 4 + channel / kPlanes)] = latents[i];
    }
    return out;
  };
  const HalfBand other(kGridH, kGridW, kChannels, LatentPacking::kChannelSlowest, 1);
  const std::vector<float> full = noise(kTokens * kChannels, 8);
  EXPECT_EQ(other.low(slowest(full)), slowest(band().low(full)));
  const std::vector<float> half = band().low(full);
  EXPECT_EQ(other.raised(slowest(half)), slowest(band().raised(half)));
}

TEST(HalfBand, ThreadsChangeNoBit) {
  const std::vector<float> latents = noise(kTokens * kChannels, 1);
  EXPECT_EQ(band(3).low(latents), band(1).low(latents));
}

TEST(HalfBand, AFullSizeStateHasTheHalfSizeOneBelowAndTheNoiseAbove) {
  constexpr double kLevel = 0.6;
  const std::vector<float> y = noise(kTokens / 4 * kChannels, 5), n = noise(kTokens * kChannels, 6);
  const std::vector<float> x = band().full_size(y, n, kLevel);
  std::vector<float> below = y, above = x, noise_above = n;
  for (float& v : below) v *= static_cast<float>(2 - kLevel);
  const std::vector<float> low_x = band().low(x), low_n = band().low(n);
  EXPECT_LT(relative_error(low_x, below), 1e-6);
  const std::vector<float> raised_x = band().raised(low_x), raised_n = band().raised(low_n);
  for (size_t i = 0; i < x.size(); ++i) {
    above[i] -= raised_x[i];
    noise_above[i] = static_cast<float>(kLevel) * (n[i] - raised_n[i]);
  }
  EXPECT_LT(relative_error(above, noise_above), 2e-6);
}

// Flow matching with a velocity that knows the picture: every state is (1 - s) x0 + s n. Of a
// picture without high frequencies the way over the half size leads to the same state, from the
// state at the level of the half-size picture.
TEST(HalfBand, AKnownPictureIsInTheSameStateAfterBothWays) {
  const std::vector<float> n = noise(kTokens * kChannels, 8);
  const std::vector<float> x0 = band().raised(noise(kTokens / 4 * kChannels, 9));
  const std::vector<float> twice_y0 = band().low(x0), half_noise = band().low(n);
  for (const double level : {0.9, 0.5, 0.1}) {
    const double r = level / (2 - level);
    std::vector<float> x(x0.size()), y(half_noise.size());
    for (size_t i = 0; i < x.size(); ++i)
      x[i] = static_cast<float>((1 - level) * x0[i] + level * n[i]);
    for (size_t i = 0; i < y.size(); ++i)
      y[i] = static_cast<float>((1 - r) * twice_y0[i] / 2 + r * half_noise[i]);
    EXPECT_LT(relative_error(band().full_size(y, n, level), x), 1e-6) << level;
  }
}

}  // namespace
}  // namespace intaglio
