// Host side of check_row_ops: random values, references in double loops, verdicts.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>
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
inline std::vector<float> as_floats(const std::vector<BFloat16>& from) {
  std::vector<float> to(from.size());
  for (size_t i = 0; i < from.size(); ++i) to[i] = static_cast<float>(from[i]);
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

// ops/quantize.h, of `count` values that share a scale.
inline void expect_quantized(Verdicts& verdicts, const float* values, int64_t count,
                             const int8_t* q, float scale) {
  float absmax = 0.0f;
  bool finite = true;
  for (int64_t i = 0; i < count; ++i) {
    finite = finite && std::isfinite(values[i]);
    absmax = std::max(absmax, std::fabs(values[i]));
  }
  const float wanted = !finite ? std::nanf("") : std::max(absmax / 127.0f, 1e-30f);
  verdicts.same("scale", 0, scale, wanted);
  const float factor = finite && absmax >= 1e-36f ? 127.0f / absmax : 0.0f;
  for (int64_t i = 0; i < count; ++i) {
    const float v = factor == 0.0f ? 0.0f : std::nearbyint(values[i] * factor);
    verdicts.same("integer", i, q[i], std::clamp(v, -127.0f, 127.0f));
  }
}

// x / sqrt(mean(x^2) + eps), or of x - mean with layer; NaN throughout if the sum of squares is not
// finite.
inline std::vector<double> normed_row(const float* x, int64_t cols, bool layer, double eps) {
  double mean = 0.0, squares = 0.0;
  if (layer) {
    for (int64_t c = 0; c < cols; ++c) mean += x[c];
    mean /= static_cast<double>(cols);
  }
  std::vector<double> y(static_cast<size_t>(cols));
  for (int64_t c = 0; c < cols; ++c) {
    y[static_cast<size_t>(c)] = x[c] - mean;
    squares += y[static_cast<size_t>(c)] * y[static_cast<size_t>(c)];
  }
  const double inverse = std::isfinite(squares)
                             ? 1.0 / std::sqrt(squares / static_cast<double>(cols) + eps)
                             : std::nan("");
  for (double& v : y) v *= inverse;
  return y;
}

// Row r of a case is odd by r % 8: 1 zeros, 2 a NaN, 3 an Inf, 4 tiny, 5 large.
inline void make_rows_odd(std::vector<float>& x, int64_t cols) {
  for (size_t i = 0; i < x.size(); ++i) {
    const auto column = static_cast<int64_t>(i) % cols;
    switch (static_cast<int64_t>(i) / cols % 8) {
      case 1:
        x[i] = 0.0f;
        break;
      case 2:
        if (column == cols - 1) x[i] = std::nanf("");
        break;
      case 3:
        if (column == cols / 2) x[i] = std::numeric_limits<float>::infinity();
        break;
      case 4:
        x[i] *= 1e-30f;
        break;
      case 5:
        x[i] *= 1e14f;
        break;
      default:
        break;
    }
  }
}

}  // namespace intaglio::bench
