// The small float passes: every implementation at every level against the reference in F64.
#include "ops/elementwise.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "ops/each_implementation.h"
#include "ops/elementwise_implementations.h"

namespace intaglio {
namespace {

using test::each_implementation;
using test::Operands;

constexpr float kInf = std::numeric_limits<float>::infinity();
const float kNan = std::nanf("");
// Below, at and above a grain of a thread.
constexpr int64_t kCounts[] = {1, 3, 17, 16384, 40001};
constexpr DType kTypes[] = {DType::kF32, DType::kBF16};

std::vector<float> random_values(int64_t count, unsigned seed, float size = 1.0f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, size);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(random);
  return values;
}

// Values of a type, as an op takes them.
struct Values {
  Values(DType type, const std::vector<float>& values) : dtype(type), floats(values) {
    for (const float value : values) halves.emplace_back(value);
  }
  Values(DType type, size_t count) : Values(type, std::vector<float>(count, -7.0f)) {}
  void* data() { return dtype == DType::kF32 ? static_cast<void*>(floats.data()) : halves.data(); }
  size_t bytes() const { return floats.size() * dtype_size(dtype); }
  float at(size_t i) const {
    return dtype == DType::kF32 ? floats[i] : static_cast<float>(halves[i]);
  }
  DType dtype;
  std::vector<float> floats;
  std::vector<BFloat16> halves;
};

// The same value, or both NaN.
bool is_same(float a, float b) {
  return std::isnan(b) ? std::isnan(a) : std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b);
}

std::string problem(const Status& status) { return status ? "" : status.error().message; }

TEST(ConvertElements, RoundsToEvenInEveryDirection) {
  for (const int64_t count : kCounts) {
    std::vector<float> x = random_values(count, 1);
    if (count > 16) {
      // Ties, the largest, what is not finite, the smallest.
      const float odd[] = {1.00390625f, 1.01171875f, 3.4e38f, kInf, -kInf, kNan, -0.0f, 1e-44f};
      std::copy(std::begin(odd), std::end(odd), x.begin());
    }
    for (const DType from : kTypes) {
      for (const DType to : kTypes) {
        Values source(from, x), expected(to, x.size());
        ASSERT_TRUE(ref::convert_elements({}, {source.data(), from, expected.data(), to, count}));
        for (size_t i = 0; i < x.size(); ++i) {
          const float value = source.at(i);
          ASSERT_TRUE(is_same(expected.at(i), to == DType::kF32 ? value : float(BFloat16(value))));
        }
        each_implementation(
            convert_elements_implementations(), [&](const auto& op, const Context& context) {
              Values target(to, x.size());
              Operands on(context);
              ASSERT_TRUE(op.run(context, {on.in(source.data(), source.bytes()), from,
                                           on.out(target.data(), target.bytes()), to, count}));
              on.fetch();
              for (size_t i = 0; i < x.size(); ++i)
                ASSERT_TRUE(is_same(target.at(i), expected.at(i))) << i;
            });
      }
    }
  }
}

TEST(AddInPlace, RoundsOnce) {
  for (const int64_t count : kCounts) {
    for (const DType dtype : kTypes) {
      std::vector<float> h = random_values(count, 1), values = random_values(count, 2);
      if (count > 16) h[0] = kInf, h[1] = kNan, values[2] = kNan, h[3] = kInf, values[3] = -kInf;
      Values y(dtype, values);
      std::vector<float> expected = h;
      ASSERT_TRUE(ref::add_in_place({}, {expected.data(), y.data(), dtype, count}));
      each_implementation(
          add_in_place_implementations(), [&](const auto& op, const Context& context) {
            std::vector<float> sum = h;
            Operands on(context);
            ASSERT_TRUE(op.run(context, {on.out(sum.data(), sum.size()), on.in(y.data(), y.bytes()),
                                         dtype, count}));
            on.fetch();
            for (size_t i = 0; i < h.size(); ++i) ASSERT_TRUE(is_same(sum[i], expected[i])) << i;
          });
    }
  }
}

// Values over all of the function's range, what is not finite among them; only a block of columns.
TEST(ActivateInPlace, MatchesTheReferenceInItsColumns) {
  struct Shape {
    int64_t rows, cols, ld, first;
  };
  for (const Shape shape : {Shape{1, 1, 1, 0}, Shape{3, 5, 5, 0}, Shape{7, 33, 132, 99},
                            Shape{2, 9000, 9001, 1}, Shape{1, 40001, 40001, 0}}) {
    std::vector<float> before = random_values(shape.rows * shape.ld, 3, 4.0f);
    for (size_t i = 0; i < before.size(); i += 5) before[i] *= 20.0f;
    if (shape.cols > 4) {
      const float odd[] = {kNan, kInf, -kInf, 0.0f, -0.0f};
      std::copy(std::begin(odd), std::end(odd), before.begin() + shape.first);
    }
    for (const Nonlinearity function : {Nonlinearity::kSilu, Nonlinearity::kTanh,
                                        Nonlinearity::kGeluTanh, Nonlinearity::kSigmoid}) {
      const auto of = [&](float* x) {
        return ActivateInPlace{x + shape.first, shape.rows, shape.cols, shape.ld, function};
      };
      std::vector<float> expected = before;
      ASSERT_TRUE(ref::activate_in_place({}, of(expected.data())));
      each_implementation(activate_in_place_implementations(), [&](const auto& op,
                                                                   const Context& context) {
        std::vector<float> x = before;
        Operands on(context);
        ASSERT_TRUE(op.run(context, of(on.out(x.data(), x.size()))));
        on.fetch();
        // A GPU's exp, tanh and quotient are two units off, the processor's half of one.
        const double units = context.gpu != nullptr ? 4.0 : 1.0;
        for (int64_t i = 0; i < static_cast<int64_t>(x.size()); ++i) {
          const auto at = static_cast<size_t>(i);
          const int64_t column = i % shape.ld - shape.first;
          if (column < 0 || column >= shape.cols) {
            ASSERT_TRUE(is_same(x[at], before[at])) << i;
          } else if (std::isfinite(expected[at])) {
            // Half a unit of each of: exp or tanh (two), a sum, a quotient; GELU's argument has
            // seven of its own, which exp makes a relative error as large as the argument.
            const double z = static_cast<double>(before[at]);
            const double argument = std::abs(1.6 * (z + 0.045 * z * z * z));
            const double roundings =
                4.0 + (function == Nonlinearity::kGeluTanh ? 7.0 * std::min(argument, 90.0) : 0);
            // Beyond exp's range F32 gives 0 for less than 4e-37.
            ASSERT_NEAR(
                x[at], expected[at],
                std::abs(static_cast<double>(expected[at])) * units * roundings * 0x1p-24 + 4e-37)
                << i << ": of " << before[at];
          } else {
            ASSERT_TRUE(is_same(x[at], expected[at])) << i << ": of " << before[at];
          }
        }
      });
    }
  }
}

// What SiLU and the gates of AdaLN have always given, bit for bit.
TEST(ActivateInPlace, SiluAndTanhKeepTheirBits) {
  const std::vector<float> before = random_values(40001, 3, 4.0f);
  for (const CpuFeatures& cpu : test::tested_cpus()) {
    const Context context{.threads = 2, .cpu = cpu};
    std::vector<float> silu = before, gates = before;
    const auto count = static_cast<int64_t>(before.size());
    ASSERT_TRUE(activate_in_place(context, {silu.data(), 1, count, count, Nonlinearity::kSilu}));
    ASSERT_TRUE(activate_in_place(context, {gates.data(), 1, count, count, Nonlinearity::kTanh}));
    for (size_t i = 0; i < before.size(); ++i) {
      ASSERT_EQ(silu[i], before[i] / (1.0f + std::exp(-before[i])));
      ASSERT_EQ(gates[i], std::tanh(before[i]));
    }
  }
}

// Gates over all of the sigmoid's range, out of rows that are wider.
TEST(GateRows, MatchesTheReference) {
  struct Size {
    int64_t rows, cols, ld, first;
  };
  for (const Size size :
       {Size{1, 1, 1, 0}, Size{3, 7, 30, 9}, Size{5, 64, 256, 64}, Size{2, 6144, 15360, 6144}}) {
    std::vector<float> gates = random_values(size.rows * size.ld, 1, 10.0f);
    std::vector<float> values = random_values(size.rows * size.cols, 2);
    if (size.cols > 4) {
      values[0] = kNan, gates[static_cast<size_t>(size.first) + 1] = kNan;
      gates[static_cast<size_t>(size.first) + 2] = kInf;
      gates[static_cast<size_t>(size.first) + 3] = -kInf;
    }
    for (const DType dtype : kTypes) {
      Values gate(dtype, gates), expected(dtype, values);
      const auto of = [&](void* x, const void* wide) {
        return GateRows{.x = x,
                        .gate = static_cast<const std::byte*>(wide) +
                                static_cast<size_t>(size.first) * dtype_size(dtype),
                        .rows = size.rows,
                        .cols = size.cols,
                        .ld = size.ld,
                        .dtype = dtype};
      };
      ASSERT_TRUE(ref::gate_rows({}, of(expected.data(), gate.data())));
      each_implementation(gate_rows_implementations(), [&](const auto& op, const Context& context) {
        Values x(dtype, values);
        Operands on(context);
        ASSERT_TRUE(
            op.run(context, of(on.out(x.data(), x.bytes()), on.in(gate.data(), gate.bytes()))));
        on.fetch();
        for (size_t i = 0; i < values.size(); ++i) {
          if (std::isnan(expected.at(i))) {
            ASSERT_TRUE(std::isnan(x.at(i))) << i;
            continue;
          }
          // exp is 2e-7 off, one sum, one quotient, one product; bf16 rounds once more. Vector
          // forms of exp give e^-87 for less.
          const double e = expected.at(i);
          ASSERT_NEAR(x.at(i), e,
                      std::abs(e) * (1e-6 + (dtype == DType::kBF16 ? 0x1p-7 : 0.0)) + 1e-36)
              << i;
        }
      });
    }
  }
}

// Interleaved, side by side, and apart with room between; nothing else is written.
TEST(ScatterTap, WritesItsChannelsAlone) {
  for (const auto& [rows, cols] :
       {std::pair<int64_t, int64_t>{1, 1}, {3, 5}, {7, 4096}, {2, 30000}}) {
    const std::vector<float> h = random_values(rows * cols, 1);
    constexpr int64_t kTaps = 3;
    for (int64_t tap = 0; tap < kTaps; ++tap) {
      for (const auto& [stride, offset] :
           {std::pair<int64_t, int64_t>{kTaps, tap}, {1, tap * cols}, {2, tap}}) {
        const int64_t ld = cols * kTaps + 1;
        const auto of = [rows = rows, cols = cols, ld, stride = stride, offset = offset](
                            const float* taps, float* features) {
          return ScatterTap{taps, features, rows, cols, ld, stride, offset};
        };
        std::vector<float> expected(static_cast<size_t>(rows * ld), -7.0f);
        for (int64_t i = 0; i < rows * cols; ++i)
          expected[static_cast<size_t>(i / cols * ld + i % cols * stride + offset)] =
              h[static_cast<size_t>(i)];
        each_implementation(
            scatter_tap_implementations(), [&](const auto& op, const Context& context) {
              std::vector<float> features(expected.size(), -7.0f);
              Operands on(context);
              ASSERT_TRUE(op.run(context, of(on.in(h.data(), h.size()),
                                             on.out(features.data(), features.size()))));
              on.fetch();
              ASSERT_EQ(features, expected);
            });
      }
    }
  }
}

TEST(SoftmaxRows, MatchesTheReference) {
  constexpr int64_t kRows = 6;
  constexpr float kScale = 0.7f;
  for (const int64_t cols : {1, 3, 15, 16, 17, 64, 100, 1030, 4096, 5000, 16388, 16385, 65536}) {
    std::vector<float> scores = random_values(kRows * cols, 1, 5.0f);
    const auto row = [&](int64_t r) { return scores.begin() + r * cols; };
    for (auto value = row(1); value < row(2); ++value) *value += 1000.0f;
    *(row(3) - 1) = kNan;
    *row(3) = kInf;
    for (int64_t c = 1; c < cols; c += 2) *(row(4) + c) = -kInf;
    std::fill(row(5), scores.end(), -kInf);
    std::vector<double> most;  // of each row
    for (int64_t r = 0; r < kRows; ++r) most.push_back(*std::max_element(row(r), row(r + 1)));
    for (const DType dtype : kTypes) {
      std::vector<float> input = scores;
      Values expected(DType::kF32, scores.size());
      ASSERT_TRUE(ref::softmax_rows({}, {input.data(), expected.data(), kRows, cols, kScale}));
      each_implementation(
          softmax_rows_implementations(), [&](const auto& op, const Context& context) {
            std::vector<float> x = scores;
            Values out(dtype, scores.size());
            Operands on(context);
            ASSERT_TRUE(op.run(context, {on.in(x.data(), x.size()), on.out(out.data(), out.bytes()),
                                         kRows, cols, kScale, dtype}));
            on.fetch();
            for (int64_t i = 0; i < kRows * cols; ++i) {
              const auto at = static_cast<size_t>(i);
              const int64_t r = i / cols;
              if (r == 2 || r == 3 || r == 5) {
                ASSERT_FALSE(std::isfinite(out.at(at))) << i;
                continue;
              }
              const double argument =
                  std::min(kScale * (most[static_cast<size_t>(r)] - scores[at]), 90.0);
              // exp is 2e-7 off, by its argument's roundings more; 16 sums run beside each other.
              // Cards form exp with their approximate exp2.
              const double of_exp = context.gpu != nullptr ? 5e-5 : 4e-7;
              const double relative =
                  of_exp + argument * 0x1p-23 + static_cast<double>(cols) / 16.0 * 0x1p-24;
              const double e = expected.at(at);
              // exp gives e^-87 for less.
              ASSERT_NEAR(out.at(at), e,
                          e * (relative + (dtype == DType::kBF16 ? 0x1p-8 : 0.0)) + 2e-38)
                  << i;
            }
            if (dtype == DType::kBF16) return;
            std::vector<float> in_place = scores;
            Operands both(context);
            float* const there = both.out(in_place.data(), in_place.size());
            ASSERT_TRUE(op.run(context, {there, there, kRows, cols, kScale}));
            both.fetch();
            for (size_t i = 0; i < in_place.size(); ++i)
              ASSERT_TRUE(is_same(in_place[i], out.floats[i])) << i;
          });
    }
  }
}

TEST(SoftmaxRows, EveryLevelHasItsOwn) {
  for (const CpuFeatures& cpu : test::tested_cpus()) {
    const SoftmaxRows op{.rows = 1, .cols = 64};
    const auto chosen = choose(OpName{"softmax_rows", "a softmax"}, softmax_rows_implementations(),
                               op, Context{.cpu = cpu}, [](const SoftmaxRows&) { return ""; });
    ASSERT_TRUE(chosen);
    EXPECT_STREQ((*chosen)->name, cpu.isa >= CpuIsa::kAvx512Vnni ? "avx512_softmax_rows"
                                  : cpu.isa >= CpuIsa::kAvx2     ? "avx2_softmax_rows"
                                                                 : "cpu_softmax_rows");
  }
}

TEST(PlaceTile, BlendsInsideItsPlace) {
  struct Placement {
    int64_t height, width, tile_height, tile_width, first_row, first_column;
  };
  for (const Placement at : {Placement{1, 1, 1, 1, 0, 0}, Placement{9, 24, 4, 12, 5, 8},
                             Placement{60, 7, 57, 5, 2, 1}, Placement{3, 1200, 2, 1100, 0, 60}}) {
    const std::vector<float> tile = random_values(at.tile_height * at.tile_width * 3, 1);
    const std::vector<float> before = random_values(3 * at.height * at.width, 2);
    const std::vector<float> rows = random_values(at.tile_height, 3);
    const std::vector<float> columns = random_values(at.tile_width, 4);
    const auto of = [&](Operands& on, std::vector<float>& picture) {
      return PlaceTile{on.in(tile.data(), tile.size()),
                       on.out(picture.data(), picture.size()),
                       at.height,
                       at.width,
                       at.tile_height,
                       at.tile_width,
                       at.first_row,
                       at.first_column,
                       on.in(rows.data(), rows.size()),
                       on.in(columns.data(), columns.size())};
    };
    std::vector<float> expected = before;
    Operands here{Context{}};
    ASSERT_TRUE(ref::place_tile({}, of(here, expected)));
    each_implementation(place_tile_implementations(), [&](const auto& op, const Context& context) {
      std::vector<float> picture = before;
      Operands on(context);
      ASSERT_TRUE(op.run(context, of(on, picture)));
      on.fetch();
      for (size_t i = 0; i < before.size(); ++i) {
        // Two products and a sum, half a unit each of numbers up to this.
        const double size =
            std::abs(static_cast<double>(before[i])) +
            std::abs(static_cast<double>(expected[i]) - static_cast<double>(before[i]));
        ASSERT_NEAR(picture[i], expected[i], 4 * size * 0x1p-24) << i;
        if (expected[i] == before[i]) {
          ASSERT_EQ(picture[i], before[i]) << i;
        }
      }
    });
  }
}

TEST(Elementwise, NothingIsDoneForNothing) {
  const Context context;
  EXPECT_EQ(problem(convert_elements(context, {})), "");
  EXPECT_EQ(problem(activate_in_place(context, {.x = nullptr, .rows = 3})), "");
  EXPECT_EQ(problem(add_in_place(context, {})), "");
  EXPECT_EQ(problem(scatter_tap(context, {.h = nullptr, .features = nullptr, .rows = 3})), "");
  EXPECT_EQ(problem(softmax_rows(context, {.scores = nullptr, .out = nullptr, .rows = 3})), "");
  EXPECT_EQ(problem(gate_rows(context, {.x = nullptr, .gate = nullptr, .rows = 3})), "");
  EXPECT_EQ(problem(place_tile(context, {})), "");
}

TEST(Elementwise, RefusalsNameTheField) {
  const Context context;
  float x[8] = {};
  EXPECT_EQ(problem(convert_elements(context, {x, DType::kI8, x, DType::kF32, 1})),
            "convert_elements: source is I8; expected F32 or BF16");
  EXPECT_EQ(problem(convert_elements(context, {x, DType::kF32, x, DType::kF16, 1})),
            "convert_elements: target is F16; expected F32 or BF16");
  EXPECT_EQ(problem(convert_elements(context, {x, DType::kF32, x, DType::kF32, -1})),
            "convert_elements: count is -1; expected 0 or more");
  EXPECT_EQ(problem(convert_elements(context, {x, DType::kF32, nullptr, DType::kF32, 1})),
            "convert_elements: target is null");
  EXPECT_EQ(problem(activate_in_place(context, {x, 2, 4, 3, Nonlinearity::kTanh})),
            "activate_in_place: ld is 3; expected cols, 4, or more");
  EXPECT_EQ(problem(activate_in_place(context, {nullptr, 1, 1, 1, Nonlinearity::kTanh})),
            "activate_in_place: x is null");
  EXPECT_EQ(problem(add_in_place(context, {x, x, DType::kI8, 1})),
            "add_in_place: y is I8; expected F32 or BF16");
  EXPECT_EQ(problem(add_in_place(context, {x, nullptr, DType::kF32, 1})),
            "add_in_place: y is null");
  EXPECT_EQ(problem(gate_rows(context, {x, x, 1, 2, 1})),
            "gate_rows: ld is 1; expected cols, 2, or more");
  EXPECT_EQ(problem(gate_rows(context, {x, nullptr, 1, 2, 2})), "gate_rows: gate is null");
  EXPECT_EQ(problem(gate_rows(context, {x, x, 1, 2, 2, DType::kI8})),
            "gate_rows: x is I8; expected F32 or BF16");
  EXPECT_EQ(problem(scatter_tap(context, {x, x, 1, 2, 4, 3, 1})),
            "scatter_tap: 2 channels, 3 apart, from 1 on do not fit into rows of 4");
  EXPECT_EQ(problem(scatter_tap(context, {x, x, 1, 2, 4, 0, 1})),
            "scatter_tap: 2 channels, 0 apart, from 1 on do not fit into rows of 4");
  EXPECT_EQ(problem(scatter_tap(context, {x, x, -1, 2, 4, 1, 1})),
            "scatter_tap: rows is -1; expected 0 or more");
  EXPECT_EQ(problem(softmax_rows(context, {x, x, 1, 2, 1.0f, DType::kI8})),
            "softmax_rows: out is I8; expected F32 or BF16");
  EXPECT_EQ(problem(softmax_rows(context, {x, x, 1, 2, -1.0f, DType::kF32})),
            "softmax_rows: scale is -1; expected 0 or more");
  EXPECT_EQ(problem(place_tile(context, {x, x, 2, 2, 2, 1, 1, 0, x, x})),
            "place_tile: 1x2 at row 1, column 0 does not lie inside 2x2");
  EXPECT_EQ(problem(place_tile(context, {x, x, 2, 2, 2, 1, 0, 0, nullptr, x})),
            "place_tile: row_share is null");
}

}  // namespace
}  // namespace intaglio
