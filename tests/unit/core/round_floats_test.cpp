#include "core/round_floats.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <vector>

namespace intaglio {
namespace {

// Into an address that no element type is aligned to; not a byte beyond.
template <typename T>
void expect_rounded(const std::vector<float>& values) {
  std::vector<unsigned char> found(2 + values.size() * sizeof(T), 0x5a);
  convert_from_f32(values.data(), kDTypeOf<T>, found.data() + 1, values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    const T expected(values[i]);
    EXPECT_EQ(std::memcmp(found.data() + 1 + i * sizeof(T), &expected, sizeof(T)), 0) << i;
  }
  EXPECT_EQ(found.front(), 0x5a);
  EXPECT_EQ(found.back(), 0x5a);
}

TEST(RoundFloats, ToEveryType) {
  const std::vector<float> values{0.0f, -1.0f, 0.1f, 3.0e38f, 1.00390625f, 65504.0f, 1.0e-40f};
  expect_rounded<float>(values);
  expect_rounded<Float16>(values);
  expect_rounded<BFloat16>(values);
}

// Half-way between two of bf16's numbers: to the even one.
TEST(RoundFloats, HalfToEven) {
  const float values[] = {1.00390625f, 1.01171875f};  // 1 + 1/256, 1 + 3/256
  uint16_t bits[2];
  convert_from_f32(values, DType::kBF16, bits, 2);
  EXPECT_EQ(bits[0], 0x3f80);
  EXPECT_EQ(bits[1], 0x3f82);
}

}  // namespace
}  // namespace intaglio
