#include <gtest/gtest.h>

#include <atomic>
#include <cmath>

#include "models/parts/weights.h"

namespace intaglio {
namespace {

double deviation_of(const TensorView& view) {
  std::vector<float> values(static_cast<size_t>(view.shape.count()));
  convert_to_f32(view.data, view.dtype, values.data(), values.size());
  double sum = 0.0, squares = 0.0;
  for (const float v : values) {
    sum += static_cast<double>(v);
    squares += static_cast<double>(v) * static_cast<double>(v);
  }
  const double mean = sum / static_cast<double>(values.size());
  return std::sqrt(squares / static_cast<double>(values.size()) - mean * mean);
}

TEST(SyntheticSource, MatricesHaveTheDeviationOfTheirColumns) {
  SyntheticSource source(5);
  ASSERT_TRUE(source.check({{"a", Shape{300, 64}}, {"b", Shape{100, 64}}, {"n", Shape{64}}}));
  const auto a = source.tensor("a", Shape{300, 64});
  const auto b = source.tensor("b", Shape{100, 64});
  ASSERT_TRUE(a && b);
  // 19,200 and 6,400 numbers: the deviation of a deviation is 0.5% and 0.9%.
  EXPECT_NEAR(deviation_of(a->view), 1.0 / 8, 0.03 / 8);
  EXPECT_NEAR(deviation_of(b->view), 1.0 / 8, 0.04 / 8);
  EXPECT_NE(a->view.data, b->view.data) << "two tensors at one place of the noise";
}

TEST(SyntheticSource, TheSameSeedAndNameGiveTheSameNumbers) {
  const TensorShapes shapes{{"w", Shape{32, 64}}};
  SyntheticSource one(5), two(5), other(6);
  for (SyntheticSource* source : {&one, &two, &other}) ASSERT_TRUE(source->check(shapes));
  const auto bytes = [](const Tensor& tensor) {
    const auto* begin = static_cast<const uint8_t*>(tensor.view.data);
    return std::vector<uint8_t>(begin, begin + tensor.view.size_bytes());
  };
  const auto a = bytes(*one.tensor("w", Shape{32, 64}));
  EXPECT_EQ(a, bytes(*two.tensor("w", Shape{32, 64})));
  EXPECT_NE(a, bytes(*other.tensor("w", Shape{32, 64})));
}

TEST(SyntheticSource, StopsWhileALargeMatrixIsMade) {
  std::atomic<bool> cancel = true;
  SyntheticSource source(5, &cancel);
  const Shape shape{600, 4096};
  ASSERT_TRUE(source.check({{"w", shape}}));
  const auto stopped = source.tensor("w", shape);
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, ErrorCode::kCancelled);
  cancel = false;
  EXPECT_TRUE(source.tensor("w", shape));
  cancel = true;
  source.forget_cancel();
  EXPECT_TRUE(source.tensor("w", shape));
}

TEST(SyntheticSource, RowsAreThoseOfTheTensor) {
  SyntheticSource source(5);
  const Shape shape{40, 24};
  ASSERT_TRUE(source.check({{"w", shape}}));
  const auto all = source.tensor("w", shape);
  ASSERT_TRUE(all);
  const std::vector<int64_t> which{39, 0, 7, 7};
  std::vector<float> rows(which.size() * 24);
  ASSERT_TRUE(source.rows("w", shape, which, rows.data()));
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(rows[i],
              static_cast<float>(
                  all->view.as<BFloat16>()[static_cast<size_t>(which[i / 24]) * 24 + i % 24]));
  }
}

TEST(SyntheticSource, WhatWasNotAnnouncedIsRefused) {
  SyntheticSource source(5);
  ASSERT_TRUE(source.check({{"a", Shape{4, 64}}}));
  EXPECT_FALSE(source.tensor("a", Shape{5, 64}));
  EXPECT_FALSE(source.tensor("a", Shape{4, 32}));
}

// As ConvRot files hold them: int8 rows where the rotation fits, of the same deviation as floats.
TEST(SyntheticSource, LinearsMayBeStoredAsTurnedInt8Rows) {
  SyntheticSource source(5, nullptr, Rotation::convrot(64));
  ASSERT_TRUE(source.check({{"a.weight", Shape{300, 128}}, {"b.weight", Shape{30, 96}}}));
  const Context context{.threads = 1};
  const auto a = source.linear(context, "a", Shape{300, 128});
  const auto b = source.linear(context, "b", Shape{30, 96});
  ASSERT_TRUE(a && b);
  EXPECT_EQ(a->linear.encoding, Encoding::kInt8Rows);
  EXPECT_EQ(a->linear.rotation, source.form("a", 128).rotation);
  EXPECT_EQ(b->linear.encoding, Encoding::kFloat);
  EXPECT_EQ(source.form("b", 96).rotation, Rotation{});
  std::vector<float> rows(300 * 128);
  for (int64_t r = 0; r < 300; ++r) dequantize_row(a->linear, r, rows.data() + r * 128);
  EXPECT_NEAR(deviation_of({rows.data(), DType::kF32, Shape{300, 128}}), 1.0 / std::sqrt(128.0),
              0.03 / std::sqrt(128.0));
}

}  // namespace
}  // namespace intaglio
