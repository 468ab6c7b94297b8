// How sure a mean is, from the values alone.
#pragma once

#include <cstdint>
#include <span>

namespace intaglio {

struct Interval {
  double mean = 0.0;
  double low = 0.0, high = 0.0;  // 95 of 100 resamples lie between these
  int64_t count = 0;             // of values
};

// The percentile bootstrap of a mean (Efron and Tibshirani, "An Introduction to the Bootstrap",
// 1993, chapter 13): kResamples draws of as many values with replacement. Of two ways to draw the
// same pictures, give it the differences: they are paired. Equal values give equal intervals.
// Values that are all alike have no width: of n right answers out of n, the true share may still be
// as low as 1 - 3 / n. No values: all zeros.
inline constexpr int kResamples = 4000;
Interval bootstrap_mean(std::span<const double> values);

}  // namespace intaglio
