#include "models/ideogram4/schedule.h"

#include <gtest/gtest.h>

#include <cmath>

namespace intaglio::ideogram4 {
namespace {

// Phi(quantile(p)) = p through the C library's erfc: 1e-14 leaves room for erfc's own rounding.
TEST(NormalQuantile, InvertsTheDistribution) {
  for (double p : {1e-300, 1e-30, 1e-9, 1e-4, 0.01, 0.074, 0.076, 0.3, 0.5, 0.7, 0.924, 0.926, 0.99,
                   0.999999}) {
    const double x = normal_quantile(p);
    EXPECT_NEAR(0.5 * std::erfc(-x / std::sqrt(2.0)) / p, 1.0, 1e-12) << p;
  }
  EXPECT_EQ(normal_quantile(0.5), 0.0);
  EXPECT_TRUE(std::isinf(normal_quantile(0.0)) && normal_quantile(0.0) < 0);
  EXPECT_TRUE(std::isinf(normal_quantile(1.0)) && normal_quantile(1.0) > 0);
}

TEST(Schedule, DescendsInsideTheClamp) {
  const std::vector<float> sigmas = schedule_sigmas({.width = 1024, .height = 1024, .steps = 48});
  ASSERT_EQ(sigmas.size(), 48u);
  EXPECT_FLOAT_EQ(sigmas.front(), static_cast<float>(1.0 - 1.0 / (1.0 + std::exp(9.0))));
  for (size_t i = 1; i < sigmas.size(); ++i) EXPECT_LT(sigmas[i], sigmas[i - 1]);
  EXPECT_GT(sigmas.back(), static_cast<float>(1.0 - 1.0 / (1.0 + std::exp(-7.5))) - 1e-9f);
}

}  // namespace
}  // namespace intaglio::ideogram4
