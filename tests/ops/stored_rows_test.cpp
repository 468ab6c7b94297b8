// Rows of weights as a checkpoint's int8 rows: every implementation, bit for bit the reference,
// which the published writer's files are compared with (tests/unit/quant/int8_rows_test.cpp).
#include "ops/stored_rows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "core/round_floats.h"
#include "ops/each_implementation.h"
#include "quant/int8_rows.h"
#include "support/tested_cpus.h"

namespace intaglio {
namespace {

constexpr float kLargest = std::numeric_limits<float>::max();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Each is one row: what rounding, maxima and quotients may get wrong.
std::vector<std::vector<float>> hard_rows(int64_t cols) {
  const auto count = static_cast<size_t>(cols);
  std::mt19937 random(static_cast<unsigned>(cols));
  std::normal_distribution<float> normal;
  std::uniform_int_distribution<int> code(-127, 127);
  std::uniform_int_distribution<uint32_t> bits;
  std::vector<std::vector<float>> rows;
  const auto add = [&](auto&& value) {
    std::vector<float>& row = rows.emplace_back(count);
    for (size_t c = 0; c < count; ++c) row[c] = value(c);
  };
  const auto alone = [&](float value) {
    add([&](size_t c) { return c + 1 == count ? value : 0.0f; });
  };
  add([](size_t) { return 0.0f; });
  add([](size_t) { return -0.0f; });
  for (const float size : {1.0f, 0.02f, 1e-30f, 1e-38f, 1e-41f, 6e-8f, 1e-5f, 3e4f, 1e37f})
    add([&](size_t) { return size * normal(random); });
  // One outlier, and rows of which it is all.
  add([&](size_t c) { return normal(random) * (c == count / 2 ? 300.0f : 1.0f); });
  for (const float value : {1.0f, -1.0f, 1e-45f, 1e-38f, 6e-8f, 65504.0f, kLargest}) alone(value);
  // Ties: quotients of halves, and halfway between neighbours of bf16 and F16.
  add([&](size_t c) { return c == 0 ? 127.0f : static_cast<float>(code(random)) + 0.5f; });
  add([&](size_t c) { return c == 0 ? 63.5f : static_cast<float>(code(random)) / 4.0f; });
  add([&](size_t c) {
    return std::bit_cast<float>(0x3f808000u + static_cast<uint32_t>(c) * 0x10000u);
  });
  add([&](size_t c) {
    return std::bit_cast<float>(0x3f801000u + static_cast<uint32_t>(c) * 0x2000u);
  });
  add([&](size_t c) { return c % 2 == 0 ? 1e-30f * 127.0f : -1e-30f * 126.5f; });
  // All one magnitude; sums that overflow when turned.
  add([](size_t c) { return c % 3 == 0 ? -0.75f : 0.75f; });
  add([](size_t) { return kLargest; });
  add([&](size_t) { return (random() % 2 == 0 ? 1.0f : -1.0f) * kLargest; });
  add([](size_t) { return 65504.0f; });
  // Any finite number.
  for (int i = 0; i < 4; ++i) {
    add([&](size_t) {
      const uint32_t found = bits(random);
      return std::bit_cast<float>((found & 0x7f800000u) == 0x7f800000u ? found ^ 0x40000000u
                                                                       : found);
    });
  }
  return rows;
}

// The rows in `dtype`, which they are clamped to: finite, as readers make sure. Before them an odd
// byte: files align nothing.
std::vector<std::byte> stored(const std::vector<std::vector<float>>& rows, DType dtype) {
  std::vector<std::byte> bytes(1);
  const auto put = [&](auto value) {
    const auto* const from = reinterpret_cast<const std::byte*>(&value);
    bytes.insert(bytes.end(), from, from + sizeof(value));
  };
  constexpr float kMostF16 = 65504.0f, kMostBF16 = 0x1.fep127f;
  for (const std::vector<float>& row : rows) {
    for (const float value : row) {
      if (dtype == DType::kF16) {
        put(Float16(std::clamp(value, -kMostF16, kMostF16)));
      } else if (dtype == DType::kBF16) {
        put(BFloat16(std::clamp(value, -kMostBF16, kMostBF16)));
      } else {
        put(value);
      }
    }
  }
  return bytes;
}

void compare(int64_t cols, DType dtype, const Rotation& rotation) {
  const auto rows = static_cast<int64_t>(hard_rows(cols).size());
  const std::vector<std::byte> bytes = stored(hard_rows(cols), dtype);
  const auto row_bytes = cols * static_cast<int64_t>(dtype_size(dtype));
  const auto count = static_cast<size_t>(rows * cols);
  std::vector<int8_t> expected(count), q(count + 1);
  std::vector<float> expected_scales(static_cast<size_t>(rows)), scales(expected_scales);
  std::vector<float> work(static_cast<size_t>(cols));
  for (int64_t r = 0; r < rows; ++r) {
    quantize_stored_row(bytes.data() + 1 + r * row_bytes, dtype, cols, rotation, work.data(),
                        expected.data() + r * cols, &expected_scales[static_cast<size_t>(r)]);
  }
  for (const CpuFeatures& cpu : test::tested_cpus()) {
    const Context context{.threads = 2, .cpu = cpu};
    const StoredRows op{.w = bytes.data() + 1,
                        .dtype = dtype,
                        .rows = rows,
                        .cols = cols,
                        .rotation = rotation,
                        .q = q.data() + 1,
                        .scale = scales.data()};
    test::each_taker(
        quantize_stored_rows_implementations(), op, context, std::string(cpu_isa_name(cpu.isa)),
        cpu.isa == CpuIsa::kRef ? 1 : 2, [&](const auto& implementation, const Context&) {
          std::fill(q.begin(), q.end(), int8_t{77});
          std::fill(scales.begin(), scales.end(), -1.0f);
          ASSERT_TRUE(implementation.run(context, op));
          EXPECT_EQ(std::memcmp(scales.data(), expected_scales.data(), scales.size() * 4), 0);
          for (size_t i = 0; i < count; ++i) {
            ASSERT_EQ(int{q[i + 1]}, int{expected[i]})
                << "row " << i / static_cast<size_t>(cols) << ", column "
                << i % static_cast<size_t>(cols);
          }
          EXPECT_EQ(int{q[0]}, 77);
        });
  }
}

constexpr std::array kTypes{DType::kF32, DType::kF16, DType::kBF16};

TEST(StoredRows, AreThoseOfTheReference) {
  for (const DType dtype : kTypes) {
    for (const int64_t cols : {1, 7, 8, 15, 16, 17, 31, 33, 100, 4097}) {
      SCOPED_TRACE(testing::Message() << dtype_name(dtype) << " of " << cols);
      compare(cols, dtype, {});
    }
  }
}

TEST(StoredRows, TurnedAreThoseOfTheReference) {
  for (const DType dtype : kTypes) {
    for (const int64_t group : kRotationGroups) {
      for (const int64_t groups : {1, 3}) {
        SCOPED_TRACE(testing::Message() << dtype_name(dtype) << ", " << groups << " x " << group);
        compare(groups * group, dtype, Rotation::convrot(group));
      }
    }
  }
}

// Wherever it lies: the readers of files leave it to those who quantize.
TEST(StoredRows, TellWhatIsNotFinite) {
  constexpr int64_t kRows = 3, kCols = 80;
  for (const DType dtype : kTypes) {
    for (const Rotation& rotation : {Rotation{}, Rotation::convrot(16)}) {
      for (const int64_t at : {-1, 80, 95, 96, 130, 159}) {
        for (const float bad : {kInfinity, -kInfinity, kNan, -kNan}) {
          std::vector<float> w(kRows * kCols, 0.25f);
          if (at >= 0) w[static_cast<size_t>(at)] = bad;
          std::vector<std::byte> stored(w.size() * dtype_size(dtype));
          convert_from_f32(w.data(), dtype, stored.data(), w.size());
          std::vector<int8_t> q(w.size());
          std::vector<float> scales(kRows);
          std::atomic<bool> finite{true};
          const StoredRows op{.w = stored.data(),
                              .dtype = dtype,
                              .rows = kRows,
                              .cols = kCols,
                              .rotation = rotation,
                              .q = q.data(),
                              .scale = scales.data(),
                              .finite = &finite};
          for (const CpuFeatures& cpu : test::tested_cpus()) {
            const Context context{.threads = 2, .cpu = cpu};
            test::each_taker(quantize_stored_rows_implementations(), op, context,
                             std::string(cpu_isa_name(cpu.isa)), cpu.isa == CpuIsa::kRef ? 1 : 2,
                             [&](const auto& implementation, const Context&) {
                               finite = true;
                               ASSERT_TRUE(implementation.run(context, op));
                               EXPECT_EQ(finite, at < 0) << dtype_name(dtype) << " " << at;
                             });
          }
        }
      }
    }
  }
}

TEST(StoredRows, RefusesWhatDoesNotFit) {
  EXPECT_FALSE(quantize_stored_rows({}, {.dtype = DType::kI8, .rows = 1, .cols = 16}));
  EXPECT_FALSE(quantize_stored_rows({}, {.rows = 1, .cols = 0}));
  EXPECT_FALSE(
      quantize_stored_rows({}, {.rows = 1, .cols = 24, .rotation = Rotation::convrot(16)}));
}

}  // namespace
}  // namespace intaglio
