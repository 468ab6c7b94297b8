#include "models/parts/rope.h"

#include <cmath>

namespace intaglio {

RopeFrequencies plain_rope(double theta, int64_t head_dim) {
  RopeFrequencies rope;
  for (int64_t j = 0; j < head_dim / 2; ++j) {
    rope.frequency.push_back(
        std::pow(theta, -2.0 * static_cast<double>(j) / static_cast<double>(head_dim)));
  }
  rope.axis.assign(rope.frequency.size(), 0);
  return rope;
}

RopeFrequencies interleaved_rope(double theta, int64_t head_dim,
                                 const std::array<int64_t, 3>& sections) {
  RopeFrequencies rope = plain_rope(theta, head_dim);
  for (size_t j = 0; j < rope.axis.size(); ++j) {
    const size_t axis = j % 3;
    if (static_cast<int64_t>(j) < 3 * sections[axis]) rope.axis[j] = axis;
  }
  return rope;
}

RopeFrequencies split_rope(double theta, std::span<const int64_t> channels) {
  RopeFrequencies rope;
  for (size_t axis = 0; axis < channels.size(); ++axis) {
    const std::vector<double> own = plain_rope(theta, channels[axis]).frequency;
    rope.frequency.insert(rope.frequency.end(), own.begin(), own.end());
    rope.axis.insert(rope.axis.end(), own.size(), axis);
  }
  return rope;
}

void write_rope_row(const RopeFrequencies& rope, std::span<const double> position, float*& cos,
                    float*& sin) {
  for (size_t j = 0; j < rope.frequency.size(); ++j) {
    const double angle = position[rope.axis[j]] * rope.frequency[j];
    *cos++ = static_cast<float>(std::cos(angle));
    *sin++ = static_cast<float>(std::sin(angle));
  }
}

void fill_text_rope(const RopeFrequencies& rope, int64_t tokens, float* cos, float* sin) {
  for (int64_t i = 0; i < tokens; ++i) {
    const auto position = static_cast<double>(i);
    write_rope_row(rope, {&position, 1}, cos, sin);
  }
}

}  // namespace intaglio
