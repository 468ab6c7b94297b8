// Every quantizer of rows, at every instruction-set level of this machine and on its GPU, against
// the reference.
#include "ops/quantize.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "ops/each_implementation.h"
#include "quant/rotation.h"

namespace intaglio {
namespace {

struct Rows {
  int64_t rows = 0, cols = 0, ldx = 0;
  std::vector<float> f32;
  std::vector<BFloat16> bf16;
};

// Random rows whose odd cases sit at fixed places: row 1 zero, row 2 with NaN, row 3 with -Inf, row
// 4 tiny, row 5 subnormal, row 6 huge, row 7 of ties, row 8 below the least magnitude whose factor
// is used.
Rows make_rows(int64_t cols) {
  Rows x;
  x.rows = 11;
  x.cols = cols;
  x.ldx = cols + 3;
  x.f32.assign(static_cast<size_t>(x.rows * x.ldx),
               std::numeric_limits<float>::quiet_NaN());  // the gap must not be read
  std::mt19937 random(static_cast<unsigned>(cols));
  std::normal_distribution<float> normal(0.0f, 2.0f);
  for (int64_t r = 0; r < x.rows; ++r) {
    float* row = x.f32.data() + r * x.ldx;
    for (int64_t c = 0; c < cols; ++c) {
      row[c] = normal(random);
      if (r == 1) row[c] = c % 2 ? 0.0f : -0.0f;
      if (r == 4) row[c] *= 1e-33f;
      if (r == 5) row[c] = c % 3 ? 1e-40f : 0.0f;
      if (r == 6) row[c] *= 1e37f;
      if (r == 8) row[c] = c % 3 ? 5e-37f : -9e-37f;
      if (r == 7) row[c] = static_cast<float>(c % 253 - 126) + 0.5f;
    }
    if (r == 2) row[cols - 1] = std::numeric_limits<float>::quiet_NaN();
    if (r == 3) row[cols / 2] = -std::numeric_limits<float>::infinity();
    if (r == 7) row[0] = 127.0f;  // the factor is 1, so the halves are exact ties
  }
  for (float value : x.f32) x.bf16.emplace_back(value);
  return x;
}

struct Quantized {
  std::vector<int8_t> q;
  std::vector<float> scale;
};

QuantizeRowsDesc desc_of(DType dtype, const ColumnTransform& columns) {
  return {dtype, columns.rotation, columns.smooth != nullptr};
}

// `status`: what came of it; nullptr: it must run.
Quantized run(const QuantizeRowsImplementation& implementation, const Context& context,
              const Rows& x, DType dtype, const ColumnTransform& columns = {},
              Status* status = nullptr) {
  Quantized out{std::vector<int8_t>(static_cast<size_t>(x.rows * x.cols), 99),
                std::vector<float>(static_cast<size_t>(x.rows), 99.0f)};
  test::Operands on(context);
  const void* const data =
      dtype == DType::kF32
          ? static_cast<const void*>(on.in(const_cast<float*>(x.f32.data()), x.f32.size()))
          : on.in(const_cast<BFloat16*>(x.bf16.data()), x.bf16.size());
  const Status ran = implementation.run(
      context, desc_of(dtype, columns),
      {.x = data,
       .ldx = x.ldx,
       .rows = x.rows,
       .cols = x.cols,
       .smooth = on.in(const_cast<float*>(columns.smooth), static_cast<size_t>(x.cols)),
       .q = on.out(out.q.data(), out.q.size()),
       .scale = on.out(out.scale.data(), out.scale.size())});
  if (status != nullptr) {
    *status = ran;
  } else {
    EXPECT_TRUE(ran) << ran.error().message;
  }
  on.fetch();
  return out;
}

// NaN payloads included: every implementation shares the same scale code.
void expect_same_bits(const Quantized& got, const Quantized& expected, const std::string& what) {
  EXPECT_EQ(got.q, expected.q) << what;
  for (size_t r = 0; r < got.scale.size(); ++r) {
    EXPECT_EQ(std::bit_cast<uint32_t>(got.scale[r]), std::bit_cast<uint32_t>(expected.scale[r]))
        << what << " row " << r;
  }
}

// Every implementation on every device, both types of rows, against the reference.
void compare_all(const Rows& x, const ColumnTransform& columns, const std::string& what) {
  const auto list = quantize_rows_implementations();
  for (DType dtype : {DType::kF32, DType::kBF16}) {
    const Quantized expected = run(list.back(), Context{}, x, dtype, columns);
    test::each_implementation(
        list, desc_of(dtype, columns),
        [&](const QuantizeRowsImplementation& implementation, const Context& context) {
          Status status;
          const Quantized got = run(implementation, context, x, dtype, columns, &status);
          const std::string name =
              fmt::format("{} {} {} x {}", implementation.name, what, x.cols, dtype_name(dtype));
          // A GPU writes rows of whole vectors.
          if (context.gpu != nullptr && x.cols % 16 != 0) {
            ASSERT_FALSE(status) << name;
            EXPECT_EQ(status.error().code, ErrorCode::kUnsupported) << status.error().message;
            EXPECT_EQ(got.q, std::vector<int8_t>(got.q.size(), 99)) << name;
            return;
          }
          ASSERT_TRUE(status) << name << ": " << status.error().message;
          expect_same_bits(got, expected, name);
        });
  }
}

std::vector<float> random_divisors(int64_t cols) {
  std::mt19937 random(static_cast<unsigned>(cols) + 1);
  std::uniform_real_distribution<float> uniform(0.1f, 8.0f);
  std::vector<float> divisors(static_cast<size_t>(cols));
  for (float& value : divisors) value = uniform(random);
  return divisors;
}

constexpr int64_t kRagged[] = {1,  2,  7,  8,  9,   15,  16,   17,   31,
                               33, 63, 64, 65, 100, 384, 1000, 4608, 12289};

TEST(QuantizeRows, EveryImplementationGivesTheBitsOfTheReference) {
  for (int64_t cols : kRagged) compare_all(make_rows(cols), {}, "plain");
}

// e4m3 rows, on the CPU: the bits that the reference gives their floats.
TEST(QuantizeRows, E4m3RowsHaveTheBitsOfTheirFloats) {
  const auto& ref = quantize_rows_implementations().back();
  std::mt19937 random(11);
  for (int64_t cols : kRagged) {
    // Row 0: of few magnitudes. Row 2: the scale makes an Inf of its largest. Row 3: zeros.
    // Row 4: with a NaN. Row 5: of a negative scale.
    const std::vector<float> scales{0.01f, 1.0f, 1e36f, 2.0f, 0.5f, -3e-3f, 1e-37f};
    const auto rows = static_cast<int64_t>(scales.size());
    std::vector<uint8_t> x(static_cast<size_t>(rows * cols));
    for (int64_t i = 0; i < rows * cols; ++i) {
      auto byte = static_cast<uint8_t>(random());
      if ((byte & 0x7F) == 0x7F) byte &= 0x7B;
      if (i / cols == 0) byte &= 0x85;
      if (i / cols == 3) byte &= 0x80;
      if (i == 5 * cols - 1) byte = 0xFF;
      x[static_cast<size_t>(i)] = byte;
    }
    std::vector<float> floats(x.size());
    convert_to_f32(x.data(), DType::kF8E4M3, floats.data(), floats.size());
    for (size_t i = 0; i < floats.size(); ++i) floats[i] *= scales[i / static_cast<size_t>(cols)];
    const auto quantize = [&](const QuantizeRowsImplementation& implementation,
                              const Context& context, DType dtype, const void* data) {
      Quantized out{std::vector<int8_t>(x.size(), 99), std::vector<float>(scales.size(), 99.0f)};
      EXPECT_TRUE(implementation.run(context, {.input = dtype},
                                     {.x = data,
                                      .x_scale = scales.data(),
                                      .ldx = cols,
                                      .rows = rows,
                                      .cols = cols,
                                      .q = out.q.data(),
                                      .scale = out.scale.data()}));
      return out;
    };
    const Quantized expected = quantize(ref, Context{}, DType::kF32, floats.data());
    EXPECT_TRUE(std::isnan(expected.scale[4]));
    for (const CpuFeatures& cpu : test::tested_cpus()) {
      const Context context{.threads = 1, .cpu = cpu};
      for (const QuantizeRowsImplementation& implementation : quantize_rows_implementations()) {
        if (implementation.device != DeviceKind::kCpu ||
            implementation.can_run({.input = DType::kF8E4M3}, context) != nullptr)
          continue;
        expect_same_bits(quantize(implementation, context, DType::kF8E4M3, x.data()), expected,
                         fmt::format("{} {}", implementation.name, cols));
      }
      // As loaders call it.
      Quantized got = expected;
      got.q.assign(got.q.size(), 99);
      EXPECT_TRUE(quantize_weight_rows(context,
                                       {.values = {x.data(), DType::kF8E4M3, Shape{rows, cols}},
                                        .scales = {scales.data(), DType::kF32, Shape{rows}}},
                                       got.q.data(), got.scale.data()));
      expect_same_bits(got, expected, "weights");
    }
  }
}

TEST(QuantizeRows, SmoothedRowsHaveTheBitsOfTheReference) {
  for (int64_t cols : kRagged) {
    const std::vector<float> divisors = random_divisors(cols);
    compare_all(make_rows(cols), {.smooth = divisors.data()}, "smoothed");
  }
}

TEST(QuantizeRows, RotatedRowsHaveTheBitsOfTheReference) {
  for (const int64_t group : kRotationGroups) {
    for (const int64_t groups : {1, 2, 3, 13}) {
      compare_all(make_rows(groups * group), {.rotation = Rotation::convrot(group)},
                  fmt::format("rotated in {}", group));
    }
  }
  compare_all(make_rows(4608), {.rotation = Rotation::convrot(256)}, "rotated in 256");
}

// The reference is rotate_row, or the division, and then its own quantizer.
TEST(QuantizeRows, ReferenceTransformsThenQuantizes) {
  const auto& ref = quantize_rows_implementations().back();
  for (const int64_t group : kRotationGroups) {
    const Rows x = make_rows(2 * group);
    Rows y = x;
    for (int64_t r = 0; r < y.rows; ++r) rotate_row(y.f32.data() + r * y.ldx, y.cols, group);
    expect_same_bits(run(ref, Context{}, x, DType::kF32, {.rotation = Rotation::convrot(group)}),
                     run(ref, Context{}, y, DType::kF32), fmt::format("rotated in {}", group));
    for (size_t i = 0; i < x.bf16.size(); ++i) y.f32[i] = static_cast<float>(x.bf16[i]);
    for (int64_t r = 0; r < y.rows; ++r) rotate_row(y.f32.data() + r * y.ldx, y.cols, group);
    expect_same_bits(run(ref, Context{}, x, DType::kBF16, {.rotation = Rotation::convrot(group)}),
                     run(ref, Context{}, y, DType::kF32), fmt::format("bf16 rotated in {}", group));
  }
  const Rows x = make_rows(100);
  const std::vector<float> divisors = random_divisors(100);
  Rows y = x;
  for (int64_t r = 0; r < y.rows; ++r)
    smooth_row(x.f32.data() + r * x.ldx, divisors.data(), 100, y.f32.data() + r * y.ldx);
  expect_same_bits(run(ref, Context{}, x, DType::kF32, {.smooth = divisors.data()}),
                   run(ref, Context{}, y, DType::kF32), "smoothed");
}

TEST(QuantizeRows, DamageOfATransformedRowStaysVisible) {
  std::vector<float> divisors = random_divisors(256);
  divisors[200] = 0.0f;
  for (const CpuFeatures& cpu : test::tested_cpus()) {
    const Context context{.threads = 1, .cpu = cpu};
    const Rows x = make_rows(256);
    const auto quantize = [&](const ColumnTransform& columns) {
      Quantized out{std::vector<int8_t>(256, 99), std::vector<float>(1, 99.0f)};
      EXPECT_TRUE(quantize_rows(context, {x.f32.data() + 2 * x.ldx, DType::kF32, Shape{1, 256}},
                                {DType::kI8, out.q.data(), 1, 256, out.scale.data()}, columns));
      return out;
    };
    for (const ColumnTransform& columns :
         {ColumnTransform{.rotation = Rotation::convrot(16)},  // a NaN in the last group alone
          ColumnTransform{.smooth = divisors.data()}}) {
      const Quantized out = quantize(columns);
      EXPECT_TRUE(std::isnan(out.scale[0]));
      EXPECT_EQ(out.q, std::vector<int8_t>(256, 0));
    }
  }
}

TEST(QuantizeRows, TransformsThatCannotBeAreRefused) {
  const Context context{.threads = 1, .cpu = host_cpu_features()};
  const std::vector<float> x(3 * 48, 1.0f);
  std::vector<int8_t> q(x.size());
  std::vector<float> scale(3);
  const auto problem = [&](const ColumnTransform& columns, DType out = DType::kI8) {
    const Status status = quantize_rows(context, {x.data(), DType::kF32, Shape{3, 48}},
                                        {out, q.data(), 3, 48, scale.data()}, columns);
    return status ? std::string() : status.error().message;
  };
  EXPECT_EQ(problem({.rotation = Rotation::convrot(16)}), "");
  EXPECT_EQ(problem({.smooth = x.data()}), "");
  EXPECT_EQ(problem({.rotation = Rotation::convrot(64)}),
            "quantize_rows: 48 columns in groups of 64: columns are not a multiple of the rotation "
            "group");
  EXPECT_EQ(problem({.rotation = Rotation::convrot(48)}),
            "quantize_rows: 48 columns in groups of 48: rotation group is not 16, 64, 256, 1024 or "
            "4096");
  EXPECT_EQ(problem({.rotation = Rotation::convrot(16), .smooth = x.data()}),
            "quantize_rows: rotation and smoothing of the same rows, one expected");
  EXPECT_EQ(problem({.rotation = Rotation::convrot(16)}, DType::kF8E4M3),
            "quantize_rows: e4m3 rows are neither rotated nor smoothed");
  EXPECT_EQ(problem({.smooth = x.data()}, DType::kF8E4M3),
            "quantize_rows: e4m3 rows are neither rotated nor smoothed");
}

TEST(QuantizeRows, ReferenceFollowsTheFormula) {
  const Rows x = make_rows(1000);
  const auto& ref = quantize_rows_implementations().back();
  EXPECT_STREQ(ref.name, "ref_quantize_rows");
  const Quantized got = run(ref, Context{}, x, DType::kF32);
  for (int64_t r : {0, 6, 7, 9, 10}) {
    const float* row = x.f32.data() + r * x.ldx;
    float absmax = 0.0f;
    for (int64_t c = 0; c < x.cols; ++c) absmax = std::max(absmax, std::fabs(row[c]));
    EXPECT_EQ(got.scale[static_cast<size_t>(r)], absmax / 127.0f);
    const float factor = 127.0f / absmax;
    for (int64_t c = 0; c < x.cols; ++c) {
      const float product = row[c] * factor;
      // Round half to even, written out.
      float rounded = std::floor(product + 0.5f);
      if (rounded - product == 0.5f && std::fmod(rounded, 2.0f) != 0.0f) rounded -= 1.0f;
      ASSERT_EQ(static_cast<float>(got.q[static_cast<size_t>(r * x.cols + c)]),
                std::fmin(127.0f, std::fmax(-127.0f, rounded)))
          << r << " " << c;
    }
  }
}

TEST(QuantizeRows, ZeroTinyAndBrokenRows) {
  const Rows x = make_rows(100);
  for (const CpuFeatures& cpu : test::tested_cpus()) {
    const Context context{.threads = 1, .cpu = cpu};
    for (const QuantizeRowsImplementation& implementation : quantize_rows_implementations()) {
      if (implementation.can_run({}, context) != nullptr) continue;
      SCOPED_TRACE(implementation.name);
      const Quantized got = run(implementation, context, x, DType::kF32);
      for (int64_t r : {1, 2, 3, 5, 8}) {
        for (int64_t c = 0; c < 100; ++c)
          ASSERT_EQ(got.q[static_cast<size_t>(r * 100 + c)], 0) << r;
      }
      EXPECT_EQ(got.scale[1], kMinQuantScale);
      EXPECT_TRUE(std::isnan(got.scale[2]));
      EXPECT_TRUE(std::isnan(got.scale[3]));
      EXPECT_EQ(got.scale[4], kMinQuantScale);
      EXPECT_EQ(got.scale[5], kMinQuantScale);
      EXPECT_EQ(got.scale[8], kMinQuantScale);
      EXPECT_TRUE(std::isfinite(got.scale[6]));
    }
  }
}

TEST(QuantizeRows, PublicCallChecksItsArguments) {
  const Context context{.threads = 1, .cpu = host_cpu_features()};
  std::vector<float> x(12, 1.0f);
  std::vector<int8_t> q(12);
  std::vector<float> scale(3);
  const TensorView view{x.data(), DType::kF32, Shape{3, 4}};
  EXPECT_TRUE(quantize_rows(context, view, {DType::kI8, q.data(), 3, 4, scale.data()}));
  EXPECT_EQ(q[5], 127);
  EXPECT_FALSE(quantize_rows(context, view, {DType::kI8, q.data(), 4, 3, scale.data()}));
  EXPECT_FALSE(quantize_rows(context, view, {DType::kF32, q.data(), 3, 4, scale.data()}));
  EXPECT_FALSE(quantize_rows(context, view, {DType::kI8, q.data(), 3, 4, nullptr}));
  EXPECT_FALSE(quantize_rows(context, {x.data(), DType::kI32, Shape{3, 4}},
                             {DType::kI8, q.data(), 3, 4, scale.data()}));
  const Status e4m3 = quantize_rows(context, view, {DType::kF8E4M3, q.data(), 3, 4, scale.data()});
  ASSERT_FALSE(e4m3);
  EXPECT_EQ(e4m3.error().code, ErrorCode::kUnsupported);
}

TEST(QuantizeWeightRows, SameBitsAsRowsOfTheConvertedWeights) {
  const Rows x = make_rows(77);
  std::vector<BFloat16> dense;
  std::vector<float> converted;
  for (int64_t r = 0; r < x.rows; ++r) {
    for (int64_t c = 0; c < x.cols; ++c) {
      dense.push_back(x.bf16[static_cast<size_t>(r * x.ldx + c)]);
      converted.push_back(static_cast<float>(dense.back()));
    }
  }
  std::vector<unsigned char> unaligned(dense.size() * 2 + 1);
  std::memcpy(unaligned.data() + 1, dense.data(), dense.size() * 2);
  Quantized got{std::vector<int8_t>(dense.size()), std::vector<float>(static_cast<size_t>(x.rows))};
  EXPECT_TRUE(
      quantize_weight_rows(Context{.threads = 2, .cpu = host_cpu_features()},
                           {.values = {unaligned.data() + 1, DType::kBF16, Shape{x.rows, x.cols}}},
                           got.q.data(), got.scale.data()));
  Quantized expected = got;
  EXPECT_TRUE(quantize_rows_implementations().back().run(Context{}, {},
                                                         {.x = converted.data(),
                                                          .ldx = x.cols,
                                                          .rows = x.rows,
                                                          .cols = x.cols,
                                                          .q = expected.q.data(),
                                                          .scale = expected.scale.data()}));
  EXPECT_EQ(got.q, expected.q);
  EXPECT_EQ(got.scale[0], expected.scale[0]);
  EXPECT_EQ(got.scale[10], expected.scale[10]);
}

}  // namespace
}  // namespace intaglio
