#include "eval/bootstrap.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "core/philox.h"

namespace intaglio {
namespace {

constexpr double kLow = 0.025, kHigh = 0.975;

// The value that a share of `sorted` lies below.
double quantile(const std::vector<double>& sorted, double share) {
  return sorted[static_cast<size_t>(std::lround(share * static_cast<double>(sorted.size() - 1)))];
}

}  // namespace

Interval bootstrap_mean(std::span<const double> values) {
  Interval interval{.count = static_cast<int64_t>(values.size())};
  if (values.empty()) return interval;
  const auto n = static_cast<uint64_t>(values.size());
  double sum = 0.0;
  for (const double value : values) sum += value;
  interval.mean = sum / static_cast<double>(n);
  std::vector<double> means(kResamples);
  for (uint32_t resample = 0; resample < kResamples; ++resample) {
    double drawn = 0.0;
    for (uint64_t i = 0; i < n; i += 4) {
      const auto words = philox4x32({static_cast<uint32_t>(i / 4), resample, 0, 0}, {0, 0});
      // The upper half of word * n: below n, each as often as the others but for 1 in 2^32 / n.
      for (uint64_t j = 0; j < std::min<uint64_t>(4, n - i); ++j)
        drawn += values[static_cast<size_t>(uint64_t{words[j]} * n >> 32)];
    }
    means[resample] = drawn / static_cast<double>(n);
  }
  std::sort(means.begin(), means.end());
  interval.low = quantile(means, kLow);
  interval.high = quantile(means, kHigh);
  return interval;
}

}  // namespace intaglio
