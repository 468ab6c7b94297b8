// The embedding of a step's time that several models share (diffusers' Timesteps).
#pragma once

#include <span>

namespace intaglio {

// [cos(s f_j), sin(s f_j)], f_j = exp(-ln(1e4) j / half), j = 0 .. half - 1; half = out.size() / 2,
// an even number of values. Angles reach 1000: formed in float64.
void fill_time_embedding(double scaled_time, std::span<float> out);

}  // namespace intaglio
