// How far values are from others, as one number.
#pragma once

#include <span>

namespace intaglio {

// ||a - b|| / ||b|| in float64, ||a - b|| where b is all zeros; infinite if a holds a NaN or sizes
// differ.
double relative_error(std::span<const float> a, std::span<const float> b);

}  // namespace intaglio
