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

// Each axis turns its own channels, with frequencies of its own.
TEST(SplitRope, AxesOwnConsecutiveChannels) {
  const int64_t channels[] = {2, 4};
  const RopeFrequencies rope = split_rope(256.0, channels);
  EXPECT_EQ(rope.axis, (std::vector<size_t>{0, 1, 1}));
  ASSERT_EQ(rope.frequency.size(), 3u);
  EXPECT_DOUBLE_EQ(rope.frequency[0], 1.0);
  EXPECT_DOUBLE_EQ(rope.frequency[1], 1.0);
  EXPECT_DOUBLE_EQ(rope.frequency[2], 1.0 / 16.0);
}

}  // namespace
}  // namespace intaglio
