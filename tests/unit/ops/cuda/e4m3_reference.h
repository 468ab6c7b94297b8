// e4m3 by its definition, for tests: values by ldexp, rounding by a search among all of them.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>

namespace intaglio {

// The value of a code without its sign; 0x7f is NaN.
inline double e4m3_value(int code) {
  if (code == 0x7f) return std::nan("");
  const int exponent = code / 8, mantissa = code % 8;
  return exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
}

// Half to the even code, saturated.
inline uint8_t reference_e4m3(double x) {
  static const std::array<double, 127> values = [] {
    std::array<double, 127> all{};
    for (size_t code = 0; code < all.size(); ++code) all[code] = e4m3_value(static_cast<int>(code));
    return all;
  }();
  if (std::isnan(x)) return 0x7f;
  const int sign = std::signbit(x) ? 0x80 : 0;
  const double magnitude = std::fabs(x);
  const auto above = std::upper_bound(values.begin(), values.end(), magnitude);
  if (above == values.end()) return static_cast<uint8_t>(sign | 0x7e);
  const int high = static_cast<int>(above - values.begin()), low = high - 1;
  const double to_low = magnitude - values[static_cast<size_t>(low)];
  const double to_high = values[static_cast<size_t>(high)] - magnitude;
  const int code = to_low < to_high ? low : to_high < to_low ? high : high % 2 == 0 ? high : low;
  return static_cast<uint8_t>(sign | code);
}

// ops/cuda/e4m3_rows_params.h's formula; returns the scale.
inline float reference_e4m3_row(const float* x, int64_t count, uint8_t* q) {
  float absmax = 0.0f;
  bool finite = true;
  for (int64_t i = 0; i < count; ++i) {
    finite = finite && std::isfinite(x[i]);
    absmax = std::max(absmax, std::fabs(x[i]));
  }
  const bool zeros = !finite || absmax < 2e-36f;
  const float factor = zeros ? 0.0f : 448.0f / absmax;
  for (int64_t i = 0; i < count; ++i)
    q[i] = zeros ? uint8_t{0} : reference_e4m3(static_cast<double>(x[i] * factor));
  return finite ? std::max(absmax / 448.0f, 1e-30f) : std::numeric_limits<float>::quiet_NaN();
}

}  // namespace intaglio
