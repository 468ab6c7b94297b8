// The quantizer of rows to e4m3, run on the CPU (emulation/lanes.h) against e4m3_reference.h: every
// boundary between codes, every path, odd rows, guards.
#include "row_emulation.h"
// Kernels after the emulation, which defines what they are written in.
#include "ops/cuda/kernels/e4m3_rows.cuh"
#include "ops/cuda/launch/quantize_rows_shape.h"
#include "unit/ops/cuda/e4m3_reference.h"

namespace intaglio::cuda {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// What lies at and beside every code and every middle of two codes, both signs.
std::vector<float> boundaries() {
  std::vector<float> values;
  for (int code = 0; code < 0x7e; ++code) {
    const double low = e4m3_value(code), high = e4m3_value(code + 1);
    const auto middle = static_cast<float>((low + high) / 2.0);
    for (float x : {static_cast<float>(low), middle, std::nextafter(middle, 0.0f),
                    std::nextafter(middle, kInfinity)}) {
      values.push_back(x);
      values.push_back(-x);
    }
  }
  return values;
}

TEST(E4m3, SoftwareRoundsHalfToEven) {
  for (float x : boundaries()) ASSERT_EQ(ptx::e4m3_in_software(x), reference_e4m3(x)) << x;
  // Ties by hand: 2^-10 lies between 0 and 2^-9, 17 between 16 and 18, 19 between 18 and 20.
  EXPECT_EQ(ptx::e4m3_in_software(0x1p-10f), 0x00u);
  EXPECT_EQ(ptx::e4m3_in_software(0x3p-10f), 0x02u);
  EXPECT_EQ(ptx::e4m3_in_software(17.0f), 0x58u);
  EXPECT_EQ(ptx::e4m3_in_software(19.0f), 0x5au);
  EXPECT_EQ(ptx::e4m3_in_software(-0.0f), 0x80u);
}

TEST(E4m3, SoftwareSaturatesAndKeepsNan) {
  for (float x : {448.0f, 449.0f, 463.0f, 464.0f, 480.0f, 1e9f, 3.4e38f, kInfinity}) {
    EXPECT_EQ(ptx::e4m3_in_software(x), 0x7eu) << x;
    EXPECT_EQ(ptx::e4m3_in_software(-x), 0xfeu) << x;
  }
  EXPECT_EQ(ptx::e4m3_in_software(std::nanf("")), 0x7fu);
  EXPECT_EQ(ptx::e4m3_in_software(1e-40f), 0x00u);
}

TEST(E4m3, SoftwareAgreesOnEveryBf16) {
  for (uint32_t high = 0; high < 0x10000u; ++high) {
    const float x = __uint_as_float(high << 16);
    ASSERT_EQ(ptx::e4m3_in_software(x), reference_e4m3(x)) << x;
  }
}

TEST(E4m3, PairsLieLowFirst) { EXPECT_EQ(ptx::cvt_e4m3x2(1.0f, -2.0f), 0xc038u); }

template <class Type, int kChunks>
void run_held(const E4m3RowsParams& p, const RowShape& shape) {
  if (shape.rows > 1) {
    if constexpr (kChunks <= 4) {
      run_grid((p.rows + shape.rows - 1) / shape.rows, shape.threads,
               [=] { held_e4m3_rows<Type, kChunks, true>(p); });
    }
  } else if constexpr (kChunks >= 2) {
    run_grid(p.rows, shape.threads, [=] { held_e4m3_rows<Type, kChunks, false>(p); });
  }
}

// As launch/e4m3_rows.cu does; `stream` forces the path of long rows.
template <class Type>
void run_rows(const E4m3RowsParams& p, bool stream) {
  const RowShape shape = quantize_rows_shape(p.cols / kE4m3Piece<Type>, {});
  ASSERT_TRUE(shape.rows == 1 || shape.rows == kE4m3WarpRows);
  if (stream || shape.chunks == 0) {
    run_grid(p.rows, stream ? 64 : shape.threads, [=] { streamed_e4m3_rows<Type>(p); });
  } else if (shape.chunks == 1) {
    run_held<Type, 1>(p, shape);
  } else if (shape.chunks == 2) {
    run_held<Type, 2>(p, shape);
  } else if (shape.chunks == 4) {
    run_held<Type, 4>(p, shape);
  } else {
    run_held<Type, 8>(p, shape);
  }
}

class E4m3Rows : public testing::Test {
 protected:
  // Odd rows among ordinary ones: 1 zeros, 2 a NaN, 3 an Inf, 4 tiny, 5 large, 6 below every scale.
  float value(int64_t row, int64_t column, int64_t cols) {
    const float x = normal_value(random_);
    switch (row % 7) {
      case 1:
        return column % 2 == 0 ? 0.0f : -0.0f;
      case 2:
        return column == cols - 1 ? std::nanf("") : x;
      case 3:
        return column == cols / 2 ? -kInfinity : x;
      case 4:
        return x * 1e-4f;
      case 5:
        return x * 1e4f;
      case 6:
        return x * 1e-37f;
      default:
        return x;
    }
  }

  template <typename T, class Type>
  void check(DType type, int64_t rows, int64_t cols, bool stream = false) {
    SCOPED_TRACE(testing::Message() << rows << " x " << cols << (stream ? ", streamed" : ""));
    const int64_t ldx = cols + 16;  // what lies between the rows must not be read
    Memory<T> x(rows * ldx);
    Memory<uint8_t> q(rows * cols);
    Memory<float> scale(rows);
    for (int64_t i = 0; i < rows * ldx; ++i)
      x[i] = i % ldx < cols ? T(value(i / ldx, i % ldx, cols)) : T(kInfinity);
    const E4m3RowsParams p{.x = x.data(),
                           .ldx = ldx,
                           .q = q.data(),
                           .scale = scale.data(),
                           .rows = static_cast<int32_t>(rows),
                           .cols = static_cast<int32_t>(cols),
                           .type = type};
    run_rows<Type>(p, stream);
    std::vector<float> row(static_cast<size_t>(cols));
    std::vector<uint8_t> expected(static_cast<size_t>(cols));
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < cols; ++c) row[static_cast<size_t>(c)] = as_float(x[r * ldx + c]);
      const float expected_scale = reference_e4m3_row(row.data(), cols, expected.data());
      if (std::isnan(expected_scale)) {
        ASSERT_TRUE(std::isnan(scale[r])) << r;
      } else {
        ASSERT_EQ(scale[r], expected_scale) << r;
      }
      for (int64_t c = 0; c < cols; ++c)
        ASSERT_EQ(q[r * cols + c], expected[static_cast<size_t>(c)]) << r << ", " << c;
    }
    EXPECT_TRUE(q.guards_are_whole() && scale.guards_are_whole());
  }

  std::mt19937 random_{5};
};

TEST_F(E4m3Rows, EveryBoundaryOfARowWhoseFactorIsOne) {
  std::vector<float> values = boundaries();
  values.push_back(448.0f);
  while (values.size() % 16 != 0) values.push_back(0.0f);
  Memory<float> x(static_cast<int64_t>(values.size())), scale(1);
  Memory<uint8_t> q(x.count());
  std::copy(values.begin(), values.end(), x.data());
  const E4m3RowsParams p{.x = x.data(),
                         .ldx = x.count(),
                         .q = q.data(),
                         .scale = scale.data(),
                         .rows = 1,
                         .cols = static_cast<int32_t>(x.count()),
                         .type = DType::kF32};
  run_rows<F32>(p, false);
  EXPECT_EQ(scale[0], 1.0f);
  for (int64_t i = 0; i < x.count(); ++i) ASSERT_EQ(q[i], reference_e4m3(x[i])) << x[i];
}

TEST_F(E4m3Rows, WarpsWithARowEach) {
  for (int64_t cols : {16, 256, 272, 512, 1008, 1024})
    check<BFloat16, BF16>(DType::kBF16, 15, cols);
  for (int64_t cols : {16, 128, 144, 512}) check<float, F32>(DType::kF32, 15, cols);
  check<Float16, F16>(DType::kF16, 15, 272);
}

TEST_F(E4m3Rows, BlocksWithARowEach) {
  for (int64_t cols : {1040, 4608, 12288, 16384, 32768})
    check<BFloat16, BF16>(DType::kBF16, 7, cols);
  for (int64_t cols : {528, 4608, 12288}) check<float, F32>(DType::kF32, 7, cols);
  check<Float16, F16>(DType::kF16, 7, 4608);
}

TEST_F(E4m3Rows, LongRowsStream) {
  check<float, F32>(DType::kF32, 7, 53248);
  for (int64_t cols : {16, 512, 2064, 4096}) {
    check<BFloat16, BF16>(DType::kBF16, 7, cols, true);
    check<float, F32>(DType::kF32, 7, cols, true);
    check<Float16, F16>(DType::kF16, 7, cols, true);
  }
}

}  // namespace
}  // namespace intaglio::cuda
