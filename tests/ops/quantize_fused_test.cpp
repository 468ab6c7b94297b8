#include "ops/ref/quantize_fused.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "ops/cpu/quantize_kernels.h"

namespace intaglio {
namespace {

constexpr int64_t kCols = 192;

std::vector<float> random_values(int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, 2.0f);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(random);
  return values;
}

TEST(QuantizeFused, RmsNormIsTheNormOpWithinRoundings) {
  const std::vector<float> x = random_values(kCols, 1), w = random_values(kCols, 2),
                           m = random_values(kCols, 3);
  double squares = 0.0;
  for (float value : x) squares += static_cast<double>(value) * value;
  const double inverse = 1.0 / std::sqrt(squares / kCols + 1e-5);
  std::vector<float> both(kCols), plain(kCols);
  ref_rms_norm_row(x.data(), w.data(), m.data(), 1e-5f, kCols, both.data());
  ref_rms_norm_row(x.data(), nullptr, nullptr, 1e-5f, kCols, plain.data());
  for (size_t c = 0; c < kCols; ++c) {
    EXPECT_NEAR(plain[c], x[c] * inverse, 2e-7 * std::fabs(x[c] * inverse));
    const double expected = x[c] * inverse * w[c] * (1.0 + m[c]);
    EXPECT_NEAR(both[c], expected,
                4e-7 * std::fabs(x[c] * inverse * w[c]) * (1.0 + std::fabs(m[c])));
  }
}

TEST(QuantizeFused, SwigluLayoutsAgree) {
  const std::vector<float> halves = random_values(2 * kCols, 4);
  std::vector<float> interleaved(2 * kCols);
  for (size_t c = 0; c < kCols; ++c) {
    interleaved[32 * (c / 16) + c % 16] = halves[c];
    interleaved[32 * (c / 16) + c % 16 + 16] = halves[kCols + c];
  }
  std::vector<float> a(kCols), b(kCols);
  ref_swiglu_row(halves.data(), false, kCols, a.data());
  ref_swiglu_row(interleaved.data(), true, kCols, b.data());
  EXPECT_EQ(a, b);
  for (size_t c = 0; c < kCols; ++c) {
    const double gate = halves[c];
    EXPECT_NEAR(a[c], gate / (1.0 + std::exp(-gate)) * halves[kCols + c], 1e-5);
  }
}

TEST(QuantizeFused, KnownMaximum) {
  std::vector<float> x = random_values(kCols, 5);
  float absmax = 0.0f;
  for (float value : x) absmax = std::fmax(absmax, std::fabs(value));
  std::vector<int8_t> q(kCols), known(kCols);
  const float scale = ref_quantize_row_f32(x.data(), kCols, q.data());
  EXPECT_EQ(ref_quantize_row_known(x.data(), absmax, kCols, known.data()), scale);
  EXPECT_EQ(q, known);
  // Above the known maximum: clamped.
  ref_quantize_row_known(x.data(), absmax / 2.0f, kCols, known.data());
  for (size_t c = 0; c < kCols; ++c) {
    if (std::fabs(x[c]) >= absmax / 2.0f) {
      EXPECT_EQ(known[c], x[c] > 0.0f ? 127 : -127);
    }
  }
  for (float bad : {std::numeric_limits<float>::infinity(), std::nanf("")}) {
    EXPECT_TRUE(std::isnan(ref_quantize_row_known(x.data(), bad, kCols, known.data())));
    for (int8_t value : known) EXPECT_EQ(value, 0);
  }
}

}  // namespace
}  // namespace intaglio
