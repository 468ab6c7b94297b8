#include "models/ideogram4/rope.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <vector>

namespace intaglio::ideogram4 {
namespace {

TransformerConfig small() {
  TransformerConfig config;
  config.heads = 1;
  config.head_dim = 16;
  config.mrope_section = {2, 2, 1};
  config.rope_theta = 100.0;
  return config;
}

// Axes by frequency for sections (2, 2, 1): j = 0 t, 1 h (1 < 6), 2 w (2 < 3), 3 t, 4 h (4 < 6), 5
// t (5 >= 3), 6 t, 7 t (7 >= 6).
TEST(ImageRope, AxesInterleaveWhileTheSectionsLast) {
  const TransformerConfig config = small();
  const int64_t text = 3;
  std::vector<float> cos(static_cast<size_t>((text + 6) * 8));
  std::vector<float> sin(cos.size());
  fill_image_rope(config, text, 2, 3, cos.data(), sin.data());
  const std::array<int, 8> axis{0, 1, 2, 0, 1, 0, 0, 0};
  for (int64_t token = 0; token < text + 6; ++token) {
    const int64_t image = token - text;
    const std::array<double, 3> position =
        token < text ? std::array<double, 3>{double(token), double(token), double(token)}
                     : std::array<double, 3>{65536.0, 65536.0 + double(image / 3),
                                             65536.0 + double(image % 3)};
    for (size_t j = 0; j < 8; ++j) {
      const double angle = position[static_cast<size_t>(axis[j])] *
                           std::pow(100.0, -2.0 * static_cast<double>(j) / 16.0);
      const size_t at = static_cast<size_t>(token) * 8 + j;
      EXPECT_NEAR(cos[at], std::cos(angle), 6e-8) << token << " " << j;  // float32's half step at 1
      EXPECT_NEAR(sin[at], std::sin(angle), 6e-8) << token << " " << j;
    }
  }
}

}  // namespace
}  // namespace intaglio::ideogram4
