#include "models/parts/time_embedding.h"

#include <cmath>

namespace intaglio {

void fill_time_embedding(double scaled_time, std::span<float> out) {
  constexpr double kMaxPeriod = 1e4;
  const size_t half = out.size() / 2;
  for (size_t j = 0; j < half; ++j) {
    const double frequency =
        std::exp(-std::log(kMaxPeriod) * static_cast<double>(j) / static_cast<double>(half));
    out[j] = static_cast<float>(std::cos(scaled_time * frequency));
    out[half + j] = static_cast<float>(std::sin(scaled_time * frequency));
  }
}

}  // namespace intaglio
