// Median and range of measured times.
#pragma once

#include <vector>

namespace intaglio::cli {

struct Spread {
  double median = 0, min = 0, max = 0;
};
// All zero without values.
Spread spread_of(std::vector<double> values);

}  // namespace intaglio::cli
