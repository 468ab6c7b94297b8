// Rows quantized on the device double: what the op asks of the launch, with every transform of the
// columns.
#include <gtest/gtest.h>

#include <vector>

#include "core/memory.h"
#include "device/double/device_double.h"
#include "ops/quantize.h"
#include "pipeline/device.h"

namespace intaglio {
namespace {

constexpr int64_t kRows = 3, kCols = 256;

struct Quantized {
  std::vector<int8_t> q = std::vector<int8_t>(kRows * kCols);
  std::vector<float> scale = std::vector<float>(kRows);
};

TEST(QuantizeRowsOnADevice, TransformsReachTheLaunch) {
  test::DeviceDouble::instance().restart();
  const DeviceContext device = *open_device(0, 1);
  const Context& context = device.context;
  std::vector<float> x, smooth;
  for (int64_t i = 0; i < kRows * kCols; ++i) x.push_back(static_cast<float>(i * 37 % 101) - 50.0f);
  for (int64_t c = 0; c < kCols; ++c) smooth.push_back(0.5f + static_cast<float>(c % 7));
  const AlignedBuffer device_x = *upload(context, x);
  const AlignedBuffer device_smooth = *upload(context, smooth);
  const AlignedBuffer q = *allocate(context, kRows * kCols);
  const AlignedBuffer scale = *allocate(context, kRows * sizeof(float));

  const std::vector<ColumnTransform> transforms{
      {}, {.rotation = Rotation::convrot(64)}, {.smooth = smooth.data()}};
  std::vector<Quantized> results;
  for (const ColumnTransform& columns : transforms) {
    ColumnTransform on_device = columns;
    if (columns.smooth != nullptr) on_device.smooth = device_smooth.as<float>();
    ASSERT_TRUE(quantize_rows(context, {device_x.data(), DType::kF32, Shape{kRows, kCols}},
                              {DType::kI8, q.data(), kRows, kCols, scale.as<float>()}, on_device));
    Quantized got, expected;
    ASSERT_TRUE(copy_out(context, got.q.data(), q.data(), got.q.size()));
    ASSERT_TRUE(copy_out(context, got.scale.data(), scale.data(), kRows * sizeof(float)));
    ASSERT_TRUE(quantize_rows(Context{}, {x.data(), DType::kF32, Shape{kRows, kCols}},
                              {DType::kI8, expected.q.data(), kRows, kCols, expected.scale.data()},
                              columns));
    EXPECT_EQ(got.q, expected.q);
    EXPECT_EQ(got.scale, expected.scale);
    results.push_back(got);
  }
  EXPECT_NE(results[0].q, results[1].q);
  EXPECT_NE(results[0].q, results[2].q);
}

}  // namespace
}  // namespace intaglio
