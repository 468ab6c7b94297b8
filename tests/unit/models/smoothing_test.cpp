#include "models/smoothing.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "core/philox.h"
#include "core/round_floats.h"

namespace intaglio {
namespace {

// 16^0.5 / 1 and 1 / 4^0.5 = 4 and 0.5, over their geometric mean; a column of zeros stays.
TEST(Smoothing, IsThePapersFormula) {
  const std::vector<float> x{16.0f, 1.0f, 0.0f, 3.0f}, w{1.0f, 4.0f, 2.0f, 0.0f};
  const std::vector<float> s = smoothing(x, w, 0.5);
  EXPECT_NEAR(s[0], 4.0 / std::sqrt(2.0), 1e-6);
  EXPECT_NEAR(s[1], 0.5 / std::sqrt(2.0), 1e-6);
  EXPECT_EQ(s[2], 1.0f);
  EXPECT_EQ(s[3], 1.0f);
}

// Alpha 1 is the activations' alone, 0 the weights'.
TEST(Smoothing, AlphaSaysWhoseOutliersMove) {
  const std::vector<float> x{8.0f, 2.0f}, w{1.0f, 100.0f};
  const std::vector<float> of_x = smoothing(x, w, 1.0), of_w = smoothing(x, w, 0.0);
  EXPECT_NEAR(of_x[0] / of_x[1], 4.0, 1e-5);
  EXPECT_NEAR(of_w[0] / of_w[1], 100.0, 1e-4);
}

// What the columns are multiplied by times what the vector became is what the vector was: to one
// rounding of F32, whatever the vector's type.
TEST(Smoothing, FoldsIntoAVectorExactly) {
  constexpr size_t kColumns = 512;
  std::vector<float> weight(kColumns), smooth(kColumns);
  for (size_t c = 0; c < kColumns; ++c) {
    weight[c] = 1.0f + 0.3f * normal_at(1, c);
    smooth[c] = std::exp(normal_at(2, c));
  }
  weight[7] = 0.0f;
  for (const DType type : {DType::kF32, DType::kBF16, DType::kF16}) {
    std::vector<std::byte> stored(kColumns * dtype_size(type));
    convert_from_f32(weight.data(), type, stored.data(), kColumns);
    std::vector<float> before(kColumns), after(kColumns), again(kColumns);
    convert_to_f32(stored.data(), type, before.data(), kColumns);
    FoldedSmoothing folded;
    const std::string names[] = {"to_q", "to_k"};
    fold_into_vector(names, smooth, "norm.weight", {stored.data(), type, Shape{kColumns}}, folded);
    ASSERT_EQ(folded.columns.size(), 2u);
    after = folded.vectors.at("norm.weight");
    const std::vector<float>& columns = folded.columns.at("to_k");
    // Its numbers are the stored type's own.
    convert_from_f32(after.data(), type, stored.data(), kColumns);
    convert_to_f32(stored.data(), type, again.data(), kColumns);
    EXPECT_EQ(after, again);
    for (size_t c = 0; c < kColumns; ++c) {
      EXPECT_NEAR(after[c] * columns[c], before[c], std::fabs(before[c]) * 0x1p-23f) << c;
      EXPECT_NEAR(columns[c] / smooth[c], 1.0, c == 7 ? 1e9 : 0x1p-8) << c;
    }
    EXPECT_EQ(columns[7], 1.0f);
  }
}

// Rows of floats have no scale of their own: only powers of two divide them without a rounding.
TEST(Smoothing, FoldsIntoRowsOfFloatsByPowersOfTwo) {
  const std::vector<float> smooth{0.7f, 1.5f, 3.1f, 1000.0f};
  const std::string names[] = {"w2"};
  FoldedSmoothing codes, floats;
  fold_into_rows(names, smooth, "w3", false, codes);
  fold_into_rows(names, smooth, "w3", true, floats);
  EXPECT_EQ(codes.rows.at("w3"), smooth);
  EXPECT_EQ(codes.columns.at("w2"), smooth);
  EXPECT_EQ(floats.rows.at("w3"), (std::vector<float>{0.5f, 2.0f, 4.0f, 1024.0f}));
  EXPECT_EQ(floats.columns.at("w2"), floats.rows.at("w3"));
  EXPECT_NE(codes.digest(), floats.digest());
}

}  // namespace
}  // namespace intaglio
