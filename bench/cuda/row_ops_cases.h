// Host side of check_row_ops: random values, verdicts.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "core/dtype.h"

namespace intaglio::bench {

inline std::vector<float> random_floats(int64_t count, uint32_t seed, float middle = 0.0f,
                                        float spread = 1.0f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(middle, spread);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& v : values) v = normal(random);
  return values;
}

inline std::vector<BFloat16> as_bf16(const std::vector<float>& from) {
  std::vector<BFloat16> to(from.size());
  for (size_t i = 0; i < from.size(); ++i) to[i] = BFloat16(from[i]);
  return to;
}

// Counts what is off; prints the first of a case.
class Verdicts {
 public:
  void begin(std::string name) {
    name_ = std::move(name);
    reported_ = false;
    ++checked_;
  }
  void expect(bool good, const char* what, int64_t at, double got, double expected) {
    if (good || reported_) return;
    reported_ = true;
    ++failed_;
    std::printf("FAIL %s: %s at %lld: %.9g for %.9g\n", name_.c_str(), what,
                static_cast<long long>(at), got, expected);
    std::fflush(stdout);
  }
  // |got - expected| <= relative * max(|expected|, floor); NaN only for NaN.
  void near(const char* what, int64_t at, float got, double expected, double relative,
            double floor) {
    const bool good = std::isnan(expected) ? std::isnan(got)
                                           : std::fabs(got - expected) <=
                                                 relative * std::max(std::fabs(expected), floor);
    expect(good, what, at, got, expected);
  }
  // Bit for bit, any NaN for a NaN.
  void same(const char* what, int64_t at, float got, float expected) {
    expect(std::isnan(expected) ? std::isnan(got) : got == expected, what, at, got, expected);
  }
  int checked() const { return checked_; }
  int failed() const { return failed_; }

 private:
  std::string name_;
  bool reported_ = false;
  int checked_ = 0, failed_ = 0;
};

}  // namespace intaglio::bench
