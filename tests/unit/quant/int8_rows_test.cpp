// Weights against the int8 rows that comfy-kitchen wrote of them (tests/formats).
#include "quant/int8_rows.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "io/formats/stored_weights.h"
#include "support/source_folder.h"

namespace intaglio {
namespace {

std::shared_ptr<const StoredWeights> open(const std::string& file) {
  const auto opened = SafetensorsFile::open(test::source_path("tests/formats/" + file));
  EXPECT_TRUE(opened) << opened.error().message;
  const auto weights = StoredWeights::open(*opened);
  EXPECT_TRUE(weights) << weights.error().message;
  return *weights;
}

struct Golden {
  const char *source, *written;
  bool widened = false;  // the writer was handed the source as F32
};

class WrittenRows : public testing::TestWithParam<Golden> {};

TEST_P(WrittenRows, AreThoseOfThePublishedWriter) {
  const auto source = open(GetParam().source), written = open(GetParam().written);
  int compared = 0;
  for (const auto& [name, entry] : written->linears()) {
    if (entry.encoding != Encoding::kInt8Rows) continue;
    SCOPED_TRACE(name);
    const auto w = source->linear(name);
    const auto expected = written->linear(name);
    ASSERT_TRUE(w && expected);
    const int64_t n = entry.n, k = entry.k;
    std::vector<float> work(static_cast<size_t>(k)), row(work);
    std::vector<int8_t> q(work.size());
    for (int64_t r = 0; r < n; ++r) {
      dequantize_row(w->linear, r, row.data());
      const DType stored = w->linear.values.dtype;
      const std::byte* const bytes =
          w->linear.values.as<std::byte>() + static_cast<size_t>(r * k) * dtype_size(stored);
      float scale = 0.0f;
      if (GetParam().widened) {
        quantize_stored_row(row.data(), DType::kF32, k, entry.rotation, work.data(), q.data(),
                            &scale);
      } else {
        quantize_stored_row(bytes, stored, k, entry.rotation, work.data(), q.data(), &scale);
      }
      const float golden = expected->linear.scales.as<float>()[r];
      // The published rotation sums in another order: the scale's last bit may differ.
      EXPECT_LE(std::fabs(scale - golden), std::nextafter(golden, HUGE_VALF) - golden)
          << "row " << r;
      if (entry.rotation.kind == RotationKind::kNone) {
        EXPECT_EQ(scale, golden) << "row " << r;
      }
      const int8_t* const q_golden = expected->linear.values.as<int8_t>() + r * k;
      int differ = 0;
      for (int64_t c = 0; c < k; ++c) differ += q[static_cast<size_t>(c)] != q_golden[c];
      EXPECT_EQ(differ, 0) << "row " << r;
      ++compared;
    }
  }
  EXPECT_GT(compared, 50);
}

INSTANTIATE_TEST_SUITE_P(
    Comfy, WrittenRows,
    testing::Values(
        Golden{"base/reference/model.safetensors", "comfy_int8_rowwise/model.safetensors"},
        Golden{"base/wide.safetensors", "comfy_int8_rowwise/wide.safetensors"},
        Golden{"base/reference/model.safetensors", "comfy_int8_convrot256/model.safetensors"},
        Golden{"base/wide.safetensors", "comfy_int8_convrot256/wide.safetensors"},
        Golden{"base/wide.safetensors", "comfy_int8_convrot256/wide_f32.safetensors", true},
        Golden{"base/reference/model.safetensors", "comfy_int8_convrot64/model.safetensors"},
        Golden{"base/wide.safetensors", "comfy_int8_convrot64/wide.safetensors"},
        Golden{"base/reference/model.safetensors", "comfy_int8_convrot16/model.safetensors"},
        Golden{"base/wide.safetensors", "comfy_int8_convrot16/wide.safetensors"}),
    [](const auto& info) { return "Case" + std::to_string(info.index); });

TEST(LargestRotation, FallsByFours) {
  EXPECT_EQ(largest_rotation(4608, 256), Rotation::convrot(256));
  EXPECT_EQ(largest_rotation(12288, 4096), Rotation::convrot(4096));
  EXPECT_EQ(largest_rotation(64, 256), Rotation::convrot(64));
  EXPECT_EQ(largest_rotation(208, 256), Rotation::convrot(16));
  EXPECT_EQ(largest_rotation(256, 16), Rotation::convrot(16));
  EXPECT_EQ(largest_rotation(24, 4096), Rotation());
}

}  // namespace
}  // namespace intaglio
