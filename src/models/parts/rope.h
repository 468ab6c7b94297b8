// Tables of rotary position angles. Angles are formed in float64: at positions near 65536 float32
// has a step of 0.008, which would be the largest error of a whole model.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace intaglio {

// By frequency of a head (head_dim / 2 of them), and the axis of a position that it turns with.
struct RopeFrequencies {
  std::vector<double> frequency;
  std::vector<size_t> axis;
};

// theta^(-2 j / head_dim), all of one axis.
RopeFrequencies plain_rope(double theta, int64_t head_dim);

// The same frequencies of the axes (t, h, w): h has j = 1, 4, 7, .., w has 2, 5, 8, .. as long as
// their sections last, t has the rest.
RopeFrequencies interleaved_rope(double theta, int64_t head_dim,
                                 const std::array<int64_t, 3>& sections);

// Each axis owns as many consecutive channels of a head as it has; in it theta^(-2 j / channels).
RopeFrequencies split_rope(double theta, std::span<const int64_t> channels);

// Writes cos and sin of one token at `position`, and moves both past them.
void write_rope_row(const RopeFrequencies& rope, std::span<const double> position, float*& cos,
                    float*& sin);

// Positions 0 .. tokens - 1 of one axis. cos, sin: [tokens, head_dim / 2].
void fill_text_rope(const RopeFrequencies& rope, int64_t tokens, float* cos, float* sin);

}  // namespace intaglio
