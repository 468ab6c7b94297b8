#include "quant/stored_linear.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace intaglio {
namespace {

constexpr int64_t kN = 5, kK = 32;

struct Int8Linear {
  std::vector<int8_t> q;
  std::vector<float> scale, smooth;

  Int8Linear() : q(kN * kK), scale(kN), smooth(kK) {
    for (size_t i = 0; i < q.size(); ++i) q[i] = static_cast<int8_t>(37 * i - 128);
    for (size_t r = 0; r < scale.size(); ++r) scale[r] = 0.25f + static_cast<float>(r) / 3.0f;
    for (size_t c = 0; c < smooth.size(); ++c) smooth[c] = 0.5f + static_cast<float>(c) / 7.0f;
  }
  StoredLinear view() const {
    return {.encoding = Encoding::kInt8Rows,
            .values = {q.data(), DType::kI8, Shape{kN, kK}},
            .scales = {scale.data(), DType::kF32, Shape{kN}}};
  }
};

std::vector<float> row_of(const StoredLinear& linear, int64_t row) {
  std::vector<float> out(static_cast<size_t>(linear.k()));
  dequantize_row(linear, row, out.data());
  return out;
}

TEST(StoredLinear, Int8RowsAreScaled) {
  const Int8Linear data;
  EXPECT_EQ(data.q[0], -128);
  for (int64_t r = 0; r < kN; ++r) {
    const std::vector<float> row = row_of(data.view(), r);
    for (int64_t c = 0; c < kK; ++c) {
      ASSERT_EQ(row[static_cast<size_t>(c)],
                static_cast<float>(data.q[static_cast<size_t>(r * kK + c)]) *
                    data.scale[static_cast<size_t>(r)]);
    }
  }
}

// W = (q scale) H, written out with the matrix.
TEST(StoredLinear, RotationIsTurnedBack) {
  const Int8Linear data;
  StoredLinear linear = data.view();
  linear.rotation = Rotation::convrot(16);
  for (int64_t r = 0; r < kN; ++r) {
    const std::vector<float> row = row_of(linear, r);
    for (int64_t c = 0; c < kK; ++c) {
      const int64_t first = c / 16 * 16;
      double sum = 0.0;
      for (int64_t j = 0; j < 16; ++j) {
        sum += static_cast<double>(data.q[static_cast<size_t>(r * kK + first + j)]) *
               static_cast<double>(data.scale[static_cast<size_t>(r)]) *
               rotation_entry(16, j, c - first);
      }
      // |W| is below 128 * 1.6 * 4: one step of float there is 6e-5, and six are added.
      ASSERT_NEAR(row[static_cast<size_t>(c)], sum, 4e-4);
    }
  }
}

TEST(StoredLinear, SmoothedColumnsAreDivided) {
  const Int8Linear data;
  const std::vector<float> plain = row_of(data.view(), 2);
  StoredLinear linear = data.view();
  linear.smooth = {data.smooth.data(), DType::kF32, Shape{kK}};
  const std::vector<float> row = row_of(linear, 2);
  for (size_t c = 0; c < row.size(); ++c) ASSERT_EQ(row[c], plain[c] / data.smooth[c]);
}

TEST(StoredLinear, FloatsAreConvertedAtAnyAddress) {
  std::vector<unsigned char> bytes(1 + 2 * kN * kK);
  std::vector<BFloat16> values;
  for (int64_t i = 0; i < kN * kK; ++i) values.emplace_back(static_cast<float>(i) / 3.0f - 20.0f);
  std::memcpy(bytes.data() + 1, values.data(), values.size() * sizeof(BFloat16));
  const StoredLinear linear{.values = {bytes.data() + 1, DType::kBF16, Shape{kN, kK}}};
  for (int64_t r = 0; r < kN; ++r) {
    const std::vector<float> row = row_of(linear, r);
    for (int64_t c = 0; c < kK; ++c)
      ASSERT_EQ(row[static_cast<size_t>(c)],
                static_cast<float>(values[static_cast<size_t>(r * kK + c)]));
  }
}

TEST(StoredLinear, RowsOfAFusedWeightAreAView) {
  const Int8Linear data;
  StoredLinear whole = data.view();
  whole.rotation = Rotation::convrot(16);
  whole.float_product = true;
  const StoredLinear part = whole.rows(2, 3);
  EXPECT_EQ(part.n(), 3);
  EXPECT_EQ(part.k(), kK);
  EXPECT_EQ(part.rotation, whole.rotation);
  EXPECT_TRUE(part.float_product);
  EXPECT_EQ(part.values.as<int8_t>(), data.q.data() + 2 * kK);
  EXPECT_EQ(part.scales.shape, Shape{3});
  for (int64_t r = 0; r < 3; ++r) EXPECT_EQ(row_of(part, r), row_of(whole, r + 2));

  const std::vector<float> floats(kN * kK, 1.0f);
  const StoredLinear plain{.values = {floats.data(), DType::kF32, Shape{kN, kK}}};
  EXPECT_EQ(plain.rows(4, 1).values.as<float>(), floats.data() + 4 * kK);
  EXPECT_EQ(plain.rows(4, 1).scales.data, nullptr);
}

TEST(Rotation, KindsAreCheckedAgainstTheColumns) {
  EXPECT_EQ(rotation_refusal(17, Rotation{}), nullptr);
  EXPECT_EQ(rotation_refusal(512, Rotation::convrot(256)), nullptr);
  EXPECT_STREQ(rotation_refusal(500, Rotation::convrot(256)),
               "columns are not a multiple of the rotation group");
}

}  // namespace
}  // namespace intaglio
