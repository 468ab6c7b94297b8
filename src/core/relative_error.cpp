#include "core/relative_error.h"

#include <cmath>
#include <cstddef>
#include <limits>

namespace intaglio {

double relative_error(std::span<const float> a, std::span<const float> b) {
  constexpr double kInfinite = std::numeric_limits<double>::infinity();
  if (a.size() != b.size()) return kInfinite;
  double difference = 0.0, norm = 0.0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    difference += d * d;
    norm += static_cast<double>(b[i]) * static_cast<double>(b[i]);
  }
  const double error = norm > 0.0 ? std::sqrt(difference / norm) : std::sqrt(difference);
  return std::isnan(error) ? kInfinite : error;
}

}  // namespace intaglio
