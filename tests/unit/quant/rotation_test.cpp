#include "quant/rotation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "io/safetensors.h"
#include "ops/cpu/quantize_kernels.h"
#include "support/source_folder.h"

namespace intaglio {
namespace {

std::vector<float> random_row(int64_t cols, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, 1.0f);
  std::vector<float> row(static_cast<size_t>(cols));
  for (float& value : row) value = normal(random);
  return row;
}

TEST(Rotation, EntryIsSymmetricAndOrthogonal) {
  for (int64_t group : {4, 16, 64}) {
    for (int64_t i = 0; i < group; ++i) {
      for (int64_t j = 0; j < group; ++j) {
        double dot = 0.0;
        for (int64_t k = 0; k < group; ++k)
          dot += rotation_entry(group, i, k) * rotation_entry(group, j, k);
        ASSERT_NEAR(dot, i == j ? 1.0 : 0.0, 1e-12) << group << " " << i << " " << j;
        ASSERT_EQ(rotation_entry(group, i, j), rotation_entry(group, j, i));
      }
    }
  }
  // The first row of H_4 / 2.
  EXPECT_EQ(rotation_entry(4, 0, 0), 0.5);
  EXPECT_EQ(rotation_entry(4, 0, 3), -0.5);
  EXPECT_EQ(rotation_entry(4, 1, 2), -0.5);
}

TEST(Rotation, RowIsTheProductWithTheMatrix) {
  for (int64_t group : kRotationGroups) {
    const int64_t cols = group <= 256 ? 3 * group : group;
    const std::vector<float> x = random_row(cols, static_cast<unsigned>(group));
    std::vector<float> y = x;
    rotate_row(y.data(), cols, group);
    for (int64_t c = 0; c < cols; c += group == 4096 ? 37 : 1) {
      const int64_t first = c / group * group;
      double sum = 0.0;
      for (int64_t k = 0; k < group; ++k)
        sum += static_cast<double>(x[static_cast<size_t>(first + k)]) *
               rotation_entry(group, k, c - first);
      ASSERT_NEAR(y[static_cast<size_t>(c)], sum, 3e-6) << group << " column " << c;
    }
    rotate_row(y.data(), cols, group);  // its own inverse
    for (size_t c = 0; c < x.size(); ++c) ASSERT_NEAR(y[c], x[c], 3e-6) << group;
  }
}

TEST(Rotation, RefusesWhatTheFormatDoesNotKnow) {
  for (int64_t group : kRotationGroups) {
    EXPECT_EQ(rotation_refusal(2 * group, group), nullptr);
    EXPECT_NE(rotation_refusal(2 * group + 4, group), nullptr);
    EXPECT_NE(rotation_refusal(group - 1, group), nullptr);
    EXPECT_NE(rotation_refusal(0, group), nullptr);
  }
  for (int64_t group : {0, 1, 4, 32, 128, 255, 512, 16384, -16})
    EXPECT_NE(rotation_refusal(16384, group), nullptr) << group;
}

TEST(Rotation, DamageStaysInTheRow) {
  std::vector<float> x = random_row(512, 3);
  x[300] = std::numeric_limits<float>::infinity();
  rotate_row(x.data(), 512, 256);
  std::vector<int8_t> q(512, 1);
  EXPECT_TRUE(std::isnan(ref_quantize_row_f32(x.data(), 512, q.data())));
  for (int8_t value : q) EXPECT_EQ(value, 0);
}

// Numbers of ComfyUI's own code (tests/reference/data/cases). It keeps bf16 between its steps: the
// rotated row, the scale it divides by and the quotient are each rounded. With these roundings our
// rotation gives all of its integers; without them, as the engine computes, values near a tie land
// one step apart.
float bf16(float value) { return static_cast<float>(BFloat16(value)); }

void comfy_quantize_row(const float* x, int64_t cols, int8_t* q) {
  float absmax = 0.0f;
  for (int64_t c = 0; c < cols; ++c) absmax = std::max(absmax, std::fabs(x[c]));
  const float scale = bf16(std::max(absmax / 127.0f, 1e-30f));
  for (int64_t c = 0; c < cols; ++c)
    q[c] = static_cast<int8_t>(std::clamp(std::nearbyint(bf16(x[c] / scale)), -128.0f, 127.0f));
}

class ComfyInt8 : public testing::Test {
 protected:
  void SetUp() override {
    auto file = SafetensorsFile::open(
        test::source_path("tests/reference/data/cases/comfy_int8_linear.safetensors"));
    ASSERT_TRUE(file.has_value());
    file_ = *file;
  }
  const TensorEntry& tensor(const std::string& name) const {
    const TensorEntry* entry = file_->find(name);
    if (entry == nullptr) throw std::runtime_error("no tensor " + name);
    return *entry;
  }
  std::vector<float> floats(const std::string& name) const { return *read_floats(tensor(name)); }
  // Rotates and quantizes rows [rows, 1024] and compares with the tensors of `prefix`.
  void compare(const std::string& source, const std::string& q_name, const std::string& scale_name,
               int64_t group) const {
    constexpr int64_t kCols = 1024;
    std::vector<float> x = floats(source);
    const std::vector<float> scale = floats(scale_name);
    const Tensor wanted = *read_tensor(tensor(q_name));
    const auto* expected = wanted.view.as<int8_t>();
    const auto rows = static_cast<int64_t>(x.size()) / kCols;
    int64_t own_apart = 0, comfy_apart = 0;
    for (int64_t r = 0; r < rows; ++r) {
      float* row = x.data() + r * kCols;
      if (group != 0) rotate_row(row, kCols, group);
      std::vector<int8_t> q(kCols), q_comfy(kCols);
      const float own = ref_quantize_row_f32(row, kCols, q.data());
      ASSERT_NEAR(own / scale[static_cast<size_t>(r)], 1.0f, 4e-3f) << q_name << " " << r;
      for (int64_t c = 0; c < kCols; ++c) row[c] = bf16(row[c]);
      comfy_quantize_row(row, kCols, q_comfy.data());
      for (int64_t c = 0; c < kCols; ++c) {
        const int difference = q[static_cast<size_t>(c)] - expected[r * kCols + c];
        ASSERT_LE(std::abs(difference), 1) << q_name << " row " << r << " column " << c;
        own_apart += difference != 0;
        comfy_apart += q_comfy[static_cast<size_t>(c)] != expected[r * kCols + c];
      }
    }
    const auto count = static_cast<double>(rows * kCols);
    EXPECT_LE(static_cast<double>(own_apart), 0.12 * count) << q_name;
    EXPECT_EQ(comfy_apart, 0) << q_name;
  }

  std::shared_ptr<const SafetensorsFile> file_;
};

TEST_F(ComfyInt8, Inputs) {
  compare("input", "rowwise.input_q", "rowwise.input_scale", 0);
  compare("input", "convrot64.input_q", "convrot64.input_scale", 64);
  compare("input", "convrot256.input_q", "convrot256.input_scale", 256);
}

TEST_F(ComfyInt8, Weights) {
  compare("weight", "rowwise.weight", "rowwise.weight_scale", 0);
  compare("weight", "convrot64.weight", "convrot64.weight_scale", 64);
  compare("weight", "convrot256.weight", "convrot256.weight_scale", 256);
}

TEST(Smooth, DividesColumns) {
  const std::vector<float> x = {1.0f, -3.0f, 0.0f, 1e-40f}, smooth = {3.0f, 0.5f, 7.0f, 2.0f};
  std::vector<float> y(4);
  smooth_row(x.data(), smooth.data(), 4, y.data());
  EXPECT_EQ(y[0], 1.0f / 3.0f);
  EXPECT_EQ(y[1], -6.0f);
  EXPECT_EQ(y[2], 0.0f);
  EXPECT_EQ(y[3], 1e-40f / 2.0f);
}

}  // namespace
}  // namespace intaglio
