#include "core/philox.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <vector>

namespace intaglio {
namespace {

// Known answers published with the Random123 library (kat_vectors, philox4x32 with 10 rounds).
TEST(Philox, MatchesPublishedVectors) {
  using Words = std::array<uint32_t, 4>;
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}),
            (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr uint32_t kOnes = 0xffffffff;
  EXPECT_EQ(philox4x32({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

// The same pair of words through the library's log, sin and cos: our polynomials must agree to
// float32's last bit or nearly so.
TEST(Normal, MatchesBoxMullerInDoublePrecision) {
  for (uint64_t seed : {0ULL, 1ULL, 0xdeadbeefcafeULL}) {
    for (uint64_t counter = 0; counter < 20000; ++counter) {
      const auto words =
          philox4x32({static_cast<uint32_t>(counter), 0, 0, 0},
                     {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
      const double radius = std::sqrt(-2.0 * std::log((words[0] + 1.0) / 4294967296.0));
      const double angle = 2.0 * M_PI * (words[1] / 4294967296.0);
      // 2^-24 relative is float32's half step; the absolute term covers the library's own error
      // near zeros of sine and cosine.
      EXPECT_NEAR(normal_at(seed, 4 * counter), radius * std::cos(angle),
                  7e-8 * std::abs(radius * std::cos(angle)) + 5e-15);
      EXPECT_NEAR(normal_at(seed, 4 * counter + 1), radius * std::sin(angle),
                  7e-8 * std::abs(radius * std::sin(angle)) + 5e-15);
    }
  }
}

TEST(Normal, IsStandard) {
  std::vector<float> x(1 << 20);
  fill_normal(42, x.data(), static_cast<int64_t>(x.size()));
  double sum = 0.0;
  double squares = 0.0;
  double fourth = 0.0;
  for (float v : x) {
    sum += v;
    squares += static_cast<double>(v) * v;
    fourth += std::pow(static_cast<double>(v), 4);
  }
  const auto n = static_cast<double>(x.size());
  EXPECT_NEAR(sum / n, 0.0, 5.0 / std::sqrt(n));  // five standard errors
  EXPECT_NEAR(squares / n, 1.0, 5.0 * std::sqrt(2.0 / n));
  EXPECT_NEAR(fourth / n, 3.0, 5.0 * std::sqrt(96.0 / n));
}

// Frozen: pictures of a seed must never change.
TEST(Normal, BitsAreFrozen) {
  uint32_t hash = 0;
  for (uint64_t i = 0; i < 4096; ++i) hash = hash * 31 + std::bit_cast<uint32_t>(normal_at(7, i));
  EXPECT_EQ(hash, 0x76ff5e1au) << std::hex << hash;
}

TEST(Normal, RaggedCountsAreAPrefix) {
  std::vector<float> all(64);
  fill_normal(3, all.data(), 64);
  for (int64_t count : {1, 2, 3, 5, 63}) {
    std::vector<float> part(static_cast<size_t>(count));
    fill_normal(3, part.data(), count);
    EXPECT_TRUE(std::equal(part.begin(), part.end(), all.begin()));
  }
}

}  // namespace
}  // namespace intaglio
