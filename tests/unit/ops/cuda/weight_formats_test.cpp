// Layouts and formulas of the weight-only formats.
#include "ops/cuda/weight_formats.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace intaglio::cuda {
namespace {

// Phi^-1 by bisection.
double normal_quantile(double p) {
  double low = -10, high = 10;
  for (int i = 0; i < 200; ++i) {
    const double middle = 0.5 * (low + high);
    (0.5 * std::erfc(-middle / std::sqrt(2.0)) < p ? low : high) = middle;
  }
  return low;
}

TEST(Nf4, CodesAreQuantilesOfANormalDistribution) {
  // The paper's construction: 8 quantiles below zero with it, 9 from zero up, both reaching 1 at
  // `offset`.
  const double offset = 0.5 * ((1 - 1.0 / 32) + (1 - 1.0 / 30));
  const double largest = normal_quantile(offset);
  for (int i = 0; i < 8; ++i) {
    const double p = offset + (0.5 - offset) * i / 7;
    EXPECT_NEAR(nf4_value(i), -normal_quantile(p) / largest, 2e-6) << i;
  }
  for (int i = 0; i <= 8; ++i) {
    const double p = offset + (0.5 - offset) * i / 8;
    EXPECT_NEAR(nf4_value(15 - i), normal_quantile(p) / largest, 2e-6) << i;
  }
}

TEST(Nf4, EveryCodeIsNearestToItsValueAndHalfWayGoesDown) {
  for (int code = 0; code < kNf4Codes; ++code) {
    EXPECT_EQ(nf4_nearest(nf4_value(code)), code);
    if (code + 1 == kNf4Codes) continue;
    const float middle = 0.5f * (nf4_value(code) + nf4_value(code + 1));
    EXPECT_EQ(nf4_nearest(middle), code);
    EXPECT_EQ(nf4_nearest(std::nextafter(middle, 2.0f)), code + 1);
  }
  EXPECT_EQ(nf4_nearest(-5.0f), 0);
  EXPECT_EQ(nf4_nearest(5.0f), 15);
  EXPECT_EQ(nf4_value(7), 0.0f);
}

TEST(Nf4, TheFirstValueIsInTheHighNibble) {
  EXPECT_EQ(nf4_code(0xa3, 0), 0xa);
  EXPECT_EQ(nf4_code(0xa3, 1), 0x3);
  EXPECT_EQ(nf4_code(0xa3, 4608), 0xa);
}

TEST(Nf4, SizesOfRunsThatEndWithinABlock) {
  EXPECT_EQ(nf4_code_bytes(1), 1);
  EXPECT_EQ(nf4_code_bytes(64), 32);
  EXPECT_EQ(nf4_code_bytes(65), 33);
  EXPECT_EQ(nf4_blocks(1), 1);
  EXPECT_EQ(nf4_blocks(64), 1);
  EXPECT_EQ(nf4_blocks(65), 2);
}

// ggml's block_q8_0, as its documentation has it.
struct BlockQ8_0 {
  uint16_t d;
  int8_t qs[32];
};
static_assert(sizeof(BlockQ8_0) == kQ8_0BlockBytes);

TEST(Q8_0, OffsetsAreThoseOfAnArrayOfBlocks) {
  const std::vector<BlockQ8_0> blocks(5);
  const auto* const begin = reinterpret_cast<const uint8_t*>(blocks.data());
  for (int64_t i = 0; i < 5 * kQ8_0Block; ++i) {
    const BlockQ8_0& block = blocks[static_cast<size_t>(i / kQ8_0Block)];
    EXPECT_EQ(q8_0_value_offset(i),
              reinterpret_cast<const uint8_t*>(&block.qs[i % kQ8_0Block]) - begin);
    EXPECT_EQ(q8_0_scale_offset(i), reinterpret_cast<const uint8_t*>(&block.d) - begin);
  }
  EXPECT_EQ(q8_0_bytes(5 * kQ8_0Block), 170);
}

TEST(Q8_0, PiecesOfEightLieAtEvenBytes) {
  // The kernel reads them two bytes at a time.
  for (int64_t i = 0; i < 4096; i += 8) {
    EXPECT_EQ(q8_0_value_offset(i) % 2, 0);
    EXPECT_EQ(q8_0_value_offset(i + 7) - q8_0_value_offset(i), 7);
  }
}

}  // namespace
}  // namespace intaglio::cuda
