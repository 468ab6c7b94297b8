#include "models/parts/rope.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace intaglio {
namespace {

TEST(TextRope, PlainPositions) {
  std::vector<float> cos(2 * 5);
  std::vector<float> sin(2 * 5);
  fill_text_rope(plain_rope(10000.0, 4), 5, cos.data(), sin.data());
  EXPECT_NEAR(cos[2 * 4], std::cos(4.0), 6e-8);
  EXPECT_NEAR(sin[2 * 4 + 1], std::sin(4.0 * 0.01), 6e-8);
}

}  // namespace
}  // namespace intaglio
