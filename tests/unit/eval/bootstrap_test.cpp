#include "eval/bootstrap.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "core/philox.h"

namespace intaglio {
namespace {

TEST(BootstrapMean, OfNothingIsNothing) {
  const Interval none = bootstrap_mean({});
  EXPECT_EQ(none.count, 0);
  EXPECT_EQ(none.mean, 0.0);
}

TEST(BootstrapMean, OfValuesThatAreAlikeHasNoWidth) {
  const Interval alike = bootstrap_mean(std::vector<double>(7, 0.25));
  EXPECT_EQ(alike.mean, 0.25);
  EXPECT_EQ(alike.low, 0.25);
  EXPECT_EQ(alike.high, 0.25);
  EXPECT_EQ(alike.count, 7);
}

// Of a normal sample the interval is mean +- 1.96 deviation / sqrt(n). With 4,000 resamples its
// ends have a standard error of about 3 % of its half width.
TEST(BootstrapMean, HasTheWidthOfTheNormalInterval) {
  constexpr int64_t kCount = 400;
  std::vector<float> normal(kCount);
  fill_normal(3, normal.data(), kCount);
  std::vector<double> values;
  double sum = 0.0, squares = 0.0;
  for (const float value : normal) {
    values.push_back(5.0 + 2.0 * double{value});
    sum += values.back();
    squares += values.back() * values.back();
  }
  const double mean = sum / kCount;
  const double half = 1.96 * std::sqrt((squares / kCount - mean * mean) / kCount);
  const Interval interval = bootstrap_mean(values);
  EXPECT_DOUBLE_EQ(interval.mean, mean);
  EXPECT_NEAR(interval.mean - interval.low, half, 0.1 * half);
  EXPECT_NEAR(interval.high - interval.mean, half, 0.1 * half);
}

// A value's chance to be left out of all of n draws is (1 - 1 / n)^n: with one 1 among 9 zeros the
// mean's lowest is 0 in 35 of 100 resamples, and 3 draws or more of it happen in 7 of 100.
TEST(BootstrapMean, DrawsWithReplacement) {
  std::vector<double> values(10, 0.0);
  values.back() = 1.0;
  const Interval interval = bootstrap_mean(values);
  EXPECT_EQ(interval.low, 0.0);
  EXPECT_DOUBLE_EQ(interval.high, 0.3);
}

TEST(BootstrapMean, IsTheSameAgain) {
  const std::vector<double> values{1, 5, 2, 9, 3};
  const Interval one = bootstrap_mean(values), again = bootstrap_mean(values);
  EXPECT_EQ(one.low, again.low);
  EXPECT_EQ(one.high, again.high);
}

}  // namespace
}  // namespace intaglio
