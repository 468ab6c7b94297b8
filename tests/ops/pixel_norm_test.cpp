// The norm of pixels: every implementation at every level against float64.
#include "ops/pixel_norm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "ops/each_implementation.h"
#include "ops/pixel_norm_implementations.h"

namespace intaglio {
namespace {

const float kNan = std::nanf("");
constexpr float kInf = std::numeric_limits<float>::infinity();

struct Pixels {
  Pixels(DType type, const std::vector<float>& values) : dtype(type), floats(values) {
    for (const float value : values) halves.emplace_back(value);
  }
  void* data() { return dtype == DType::kF32 ? static_cast<void*>(floats.data()) : halves.data(); }
  size_t bytes() const { return floats.size() * dtype_size(dtype); }
  float at(size_t i) const {
    return dtype == DType::kF32 ? floats[i] : static_cast<float>(halves[i]);
  }
  DType dtype;
  std::vector<float> floats;
  std::vector<BFloat16> halves;
};

// Pixels of every size beside each other, one of zeros, one below the least norm.
std::vector<float> values_of(int64_t pixels, int64_t channels) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  std::vector<float> values;
  for (int64_t p = 0; p < pixels; ++p) {
    const float size = p == 1 ? 0.0f : p == 2 ? 1e-16f : std::pow(10.0f, float(p % 9 - 4));
    for (int64_t c = 0; c < channels; ++c) values.push_back(size * normal(random));
  }
  return values;
}

std::vector<float> weights_of(int64_t channels) {
  std::vector<float> weight;
  for (int64_t c = 0; c < channels; ++c) weight.push_back(0.5f + static_cast<float>(c % 7) * 0.25f);
  return weight;
}

// The formula, in the test's own words.
double expected_of(const std::vector<float>& x, const std::vector<float>& weight, size_t i,
                   bool silu) {
  const size_t channels = weight.size(), first = i / channels * channels;
  double squares = 0.0;
  for (size_t c = 0; c < channels; ++c)
    squares += static_cast<double>(x[first + c]) * static_cast<double>(x[first + c]);
  const double y = static_cast<double>(x[i]) / std::fmax(std::sqrt(squares), 1e-12) *
                   std::sqrt(static_cast<double>(channels)) *
                   static_cast<double>(weight[i - first]);
  return silu ? y / (1.0 + std::exp(-y)) : y;
}

// Without pixels nobody asks for their pointers.
constexpr PixelNorm kNoPixels{.pixels = 0, .channels = 16};

TEST(PixelNorm, GivesTheFormula) {
  for (const auto& size :
       {std::pair<int64_t, int64_t>{1, 1}, {3, 4}, {5, 13}, {70, 96}, {9, 384}, {5, 1028}}) {
    const int64_t pixels = size.first, channels = size.second;
    const std::vector<float> values = values_of(pixels, channels);
    std::vector<float> weight = weights_of(channels);
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      Pixels x(dtype, values);
      std::vector<float> read;
      for (size_t i = 0; i < values.size(); ++i) read.push_back(x.at(i));
      for (const bool silu : {false, true}) {
        for (const bool in_place : {false, true}) {
          SCOPED_TRACE(fmt::format("{} x {} {} silu={} in place={}", pixels, channels,
                                   dtype_name(dtype), silu, in_place));
          test::each_implementation(
              pixel_norm_implementations(), kNoPixels, [&](const auto& op, const Context& context) {
                Pixels y(dtype, in_place ? values : std::vector<float>(values.size(), -7.0f));
                test::Operands on(context);
                void* const to = on.out(y.data(), y.bytes());
                ASSERT_TRUE(op.run(context, {.x = in_place ? to : on.in(x.data(), x.bytes()),
                                             .weight = on.in(weight.data(), weight.size()),
                                             .y = to,
                                             .pixels = pixels,
                                             .channels = channels,
                                             .silu = silu,
                                             .dtype = dtype}));
                on.fetch();
                for (size_t i = 0; i < values.size(); ++i) {
                  const double e = expected_of(read, weight, i, silu);
                  // Sums of squares run beside each other, a few hundred roundings on the way of
                  // which half counts; SiLU's exp is 2e-7 off, its argument's roundings more.
                  // bf16 adds its own.
                  const double of_argument = silu ? 1e-6 * std::abs(e) : 0.0;
                  const double of_type = dtype == DType::kBF16 ? 0x1p-8 : 0.0;
                  ASSERT_NEAR(y.at(i), e, std::abs(e) * (4e-6 + of_argument + of_type) + 1e-30)
                      << i;
                }
              });
        }
      }
    }
  }
}

// A NaN makes all of its pixel NaN, an Inf the other channels 0; no other pixel is touched.
TEST(PixelNorm, WhatIsNotFiniteStaysInItsPixel) {
  constexpr int64_t kPixels = 3, kChannels = 20;
  std::vector<float> weight = weights_of(kChannels);
  for (const float bad : {kNan, kInf, -kInf}) {
    std::vector<float> values(static_cast<size_t>(kPixels * kChannels), 0.5f);
    values[kChannels + 6] = bad;
    test::each_implementation(
        pixel_norm_implementations(), kNoPixels, [&](const auto& op, const Context& context) {
          std::vector<float> y = values;
          test::Operands on(context);
          float* const to = on.out(y.data(), y.size());
          ASSERT_TRUE(op.run(context, {.x = to,
                                       .weight = on.in(weight.data(), weight.size()),
                                       .y = to,
                                       .pixels = kPixels,
                                       .channels = kChannels}));
          on.fetch();
          for (size_t i = 0; i < y.size(); ++i) {
            if (i / kChannels != 1) {
              ASSERT_NEAR(y[i], weight[i % kChannels], 1e-5f) << i;
            } else if (std::isnan(bad) || i == kChannels + 6) {
              ASSERT_TRUE(std::isnan(y[i])) << i;
            } else {
              ASSERT_EQ(y[i], 0.0f) << i;
            }
          }
        });
  }
}

TEST(PixelNorm, RefusalsNameTheField) {
  const Context context;
  float x[8] = {};
  const auto problem = [&](const PixelNorm& op) {
    const Status status = pixel_norm(context, op);
    return status ? std::string() : status.error().message;
  };
  EXPECT_EQ(problem({.pixels = 0, .channels = 4}), "");
  EXPECT_EQ(problem({.pixels = 1, .channels = 0}), "pixel_norm: 1 pixels, 0 channels");
  EXPECT_EQ(problem({.pixels = 1, .channels = 2, .dtype = DType::kI8}),
            "pixel_norm: type I8; expected F32 or BF16");
  EXPECT_EQ(problem({.x = x, .weight = nullptr, .y = x, .pixels = 1, .channels = 2}),
            "pixel_norm: x, weight and y must not be null");
}

}  // namespace
}  // namespace intaglio
