#include "models/parts/rope.h"

#include <cmath>
#include <vector>

namespace intaglio {
namespace {

std::vector<double> frequencies(double theta, int64_t head_dim) {
  std::vector<double> result(static_cast<size_t>(head_dim / 2));
  for (size_t j = 0; j < result.size(); ++j) {
    result[j] = std::pow(theta, -2.0 * static_cast<double>(j) / static_cast<double>(head_dim));
  }
  return result;
}

// Axis of frequency j: 0 = t, 1 = h, 2 = w, interleaved as long as the sections last.
size_t axis_of(size_t j, const std::array<int64_t, 3>& section) {
  for (size_t axis : {size_t{1}, size_t{2}}) {
    if (j % 3 == axis && static_cast<int64_t>(j) < 3 * section[axis]) return axis;
  }
  return 0;
}

}  // namespace

void fill_image_rope(const TransformerConfig& config, int64_t text_tokens, int64_t grid_h,
                     int64_t grid_w, float* cos, float* sin) {
  const std::vector<double> frequency = frequencies(config.rope_theta, config.head_dim);
  std::vector<size_t> axes(frequency.size());
  for (size_t j = 0; j < axes.size(); ++j) axes[j] = axis_of(j, config.mrope_section);
  const auto write_row = [&](const std::array<double, 3>& position) {
    for (size_t j = 0; j < frequency.size(); ++j) {
      const double angle = position[axes[j]] * frequency[j];
      *cos++ = static_cast<float>(std::cos(angle));
      *sin++ = static_cast<float>(std::sin(angle));
    }
  };
  for (int64_t i = 0; i < text_tokens; ++i) {
    const auto position = static_cast<double>(i);
    write_row({position, position, position});
  }
  for (int64_t y = 0; y < grid_h; ++y) {
    for (int64_t x = 0; x < grid_w; ++x) {
      write_row({kImagePositionOffset, kImagePositionOffset + static_cast<double>(y),
                 kImagePositionOffset + static_cast<double>(x)});
    }
  }
}

void fill_text_rope(const TextEncoderConfig& config, int64_t tokens, float* cos, float* sin) {
  const std::vector<double> frequency = frequencies(config.rope_theta, config.head_dim);
  for (int64_t i = 0; i < tokens; ++i) {
    for (double f : frequency) {
      *cos++ = static_cast<float>(std::cos(static_cast<double>(i) * f));
      *sin++ = static_cast<float>(std::sin(static_cast<double>(i) * f));
    }
  }
}

}  // namespace intaglio
