// y = epilogue(x W^T + bias + (x A^T) B^T) against float64, for every kind on every instruction
// set.
#include "ops/side_branch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "core/memory.h"
#include "support/operands.h"
#include "support/tested_devices.h"

namespace intaglio {
namespace {

struct Matrix {
  int64_t rows, cols;
  std::vector<float> values;

  Matrix(int64_t r, int64_t c, uint32_t seed, float deviation = 1.0f) : rows(r), cols(c) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0.0f, deviation);
    // Values of bf16, so that no kind rounds them.
    for (int64_t i = 0; i < r * c; ++i)
      values.push_back(static_cast<float>(BFloat16(normal(random))));
  }
  TensorView view() { return {values.data(), DType::kF32, {rows, cols}}; }
  double at(int64_t r, int64_t c) const {
    return static_cast<double>(values[static_cast<size_t>(r * cols + c)]);
  }
};

double dot(const Matrix& a, int64_t i, const Matrix& b, int64_t j) {
  double sum = 0.0;
  for (int64_t c = 0; c < a.cols; ++c) sum += a.at(i, c) * b.at(j, c);
  return sum;
}

struct Case {
  LinearKind kind = LinearKind::kS8;
  GemmEpilogue epilogue = GemmEpilogue::kNone;
  DType out_dtype = DType::kF32;
  int64_t m = 5, n = 20, k = 64;
  int64_t rank = 3;
};

// Two linears side by side; the second has a branch at twice its strength, the first only
// with `both`.
void check(Context context, const std::string& device, const Case& c, bool both) {
  SCOPED_TRACE(fmt::format("{} {} {} {} m={} n={} k={} both={}", device, linear_kind_name(c.kind),
                           epilogue_name(c.epilogue), dtype_name(c.out_dtype), c.m, c.n, c.k,
                           both));
  Matrix w0(c.n, c.k, 1, 0.1f), w1(c.n, c.k, 2, 0.1f), bias(1, c.n, 3), x(c.m, c.k, 4);
  Matrix a0(2, c.k, 5, 0.1f), b0(c.n, 2, 6), a1(c.rank, c.k, 7, 0.1f), b1(c.n, c.rank, 8),
      added(1, c.n, 9);
  const std::vector<TensorView> parts{w0.view(), w1.view()};
  auto weights =
      make_linear(context, c.kind, c.epilogue,
                  {.parts = float_parts(parts),
                   .biases = {TensorView{bias.values.data(), DType::kF32, {c.n}}, TensorView{}}});
  ASSERT_TRUE(weights) << weights.error().message;
  const DType dtype = c.kind == LinearKind::kF32 ? DType::kF32 : DType::kBF16;
  const int64_t rows[] = {c.n, c.n};
  std::vector<SidePart> branches{{a1.view(), b1.view(), 2.0f, c.n}};
  if (both) {
    // The second's has a bias of its own.
    branches.front().bias = {added.values.data(), DType::kF32, {c.n}};
    branches.push_back({a0.view(), b0.view()});
  }
  auto side = make_side_branch(context, *weights, rows, branches, dtype);
  ASSERT_TRUE(side) << side.error().message;
  weights->side = *side;
  EXPECT_EQ(weights->needs_float_rows(), has_row_scales(weights->input_dtype()));

  std::vector<BFloat16> narrow;
  for (const float value : x.values) narrow.emplace_back(value);
  test::Operands on(context);
  const TensorView floats{dtype == DType::kF32
                              ? static_cast<void*>(on.in(x.values.data(), x.values.size()))
                              : static_cast<void*>(on.in(narrow.data(), narrow.size())),
                          dtype,
                          {c.m, c.k}};
  std::vector<int8_t> q(x.values.size());
  std::vector<float> scale(static_cast<size_t>(c.m));
  Activation input{dtype, const_cast<void*>(floats.data), c.m, c.k, nullptr};
  if (weights->input_dtype() == DType::kI8) {
    input = {DType::kI8, on.in(q.data(), q.size()),         c.m,
             c.k,        on.in(scale.data(), scale.size()), floats.data,
             dtype};
    ASSERT_TRUE(quantize_rows(context, floats, input));
  }
  const size_t planned = linear_scratch_bytes(context, *weights, c.m, c.out_dtype);
  Arena arena(allocate(context, planned).value());
  context.scratch = &arena;
  const int64_t cols = weights->out_cols();
  // Gated int8 rows, and gated rows on a GPU, have no stride.
  const bool dense = is_gated(c.epilogue) && (c.kind == LinearKind::kS8 || context.gpu != nullptr);
  const int64_t ldo = dense ? cols : cols + 3;
  std::vector<float> f32(static_cast<size_t>(c.m * ldo));
  std::vector<BFloat16> bf16(f32.size());
  void* const out = c.out_dtype == DType::kF32 ? static_cast<void*>(on.out(f32.data(), f32.size()))
                                               : on.out(bf16.data(), bf16.size());
  const Status status = linear(context, *weights, input, out, c.out_dtype, ldo);
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_EQ(arena.peak(), arena.capacity());
  on.fetch();
  if (c.out_dtype == DType::kBF16)
    convert_to_f32(bf16.data(), DType::kBF16, f32.data(), f32.size());

  double most = 0.0, largest = 0.0;
  // Of many rows some, of the last piece too.
  const int64_t row_step = c.m > 100 ? 45 : 1, column_step = c.m > 100 ? 61 : 1;
  for (int64_t r = 0; r < c.m; r += row_step) {
    const auto branch = [&](const Matrix& a, const Matrix& b, int64_t n) {
      double sum = 0.0;
      for (int64_t j = 0; j < a.rows; ++j) sum += dot(x, r, a, j) * b.at(n, j);
      return sum;
    };
    for (int64_t n = 0; n < c.n; n += column_step) {
      const double first = dot(x, r, w0, n) + bias.at(0, n) + (both ? branch(a0, b0, n) : 0.0);
      const double second =
          dot(x, r, w1, n) + 2.0 * branch(a1, b1, n) + (both ? 2.0 * added.at(0, n) : 0.0);
      const auto compare = [&](int64_t column, double expected) {
        const auto got = static_cast<double>(f32[static_cast<size_t>(r * ldo + column)]);
        most = std::max(most, std::abs(got - expected));
        largest = std::max(largest, std::abs(expected));
      };
      if (is_gated(c.epilogue)) {
        compare(n, first / (1.0 + std::exp(-first)) * second);
      } else {
        compare(n, first);
        compare(c.n + n, second);
      }
    }
  }
  // What rounding the operands of the main product costs, or the branch's narrow rows to bf16. A
  // branch left out, or one row of it in another's place, costs more than half.
  const bool is_exact = c.kind == LinearKind::kF32 && c.out_dtype == DType::kF32;
  EXPECT_LT(most / largest, is_exact ? 1e-5 : 0.02);
}

TEST(SideBranch, JoinsEveryKindBeforeItsEpilogue) {
  test::each_device([](const Context& context, const std::string& device) {
    for (const LinearKind kind :
         {LinearKind::kF32, LinearKind::kBF16, LinearKind::kS8, LinearKind::kS8Dequant}) {
      for (const GemmEpilogue epilogue : {GemmEpilogue::kNone, GemmEpilogue::kSwiglu}) {
        for (const DType out : {DType::kF32, DType::kBF16})
          check(context, device, {.kind = kind, .epilogue = epilogue, .out_dtype = out},
                out == DType::kF32);
      }
    }
  });
}

// Sizes at which a GPU's products take tiles of their own, whole ones and edges, with few rows and
// with k in splits; ranks that fill one piece of 16, and three.
TEST(SideBranch, LargeInt8LinearsOfAGpu) {
  test::each_device([](const Context& context, const std::string& device) {
    if (context.gpu == nullptr) return;
    for (const GemmEpilogue epilogue : {GemmEpilogue::kNone, GemmEpilogue::kSwiglu}) {
      for (const int64_t m : {3, 60, 300, 1100}) {
        check(context, device,
              {.epilogue = epilogue, .out_dtype = DType::kBF16, .m = m, .n = 1024, .k = 2048},
              m == 300);
      }
      check(context, device,
            {.epilogue = epilogue,
             .out_dtype = DType::kBF16,
             .m = 257,
             .n = 336,
             .k = 528,
             .rank = 40},
            true);
    }
  });
}

// More rows than are formed at a time.
TEST(SideBranch, ManyRowsComeInPieces) {
  const Context context = test::host_context();
  check(context, "host", {.m = 1100, .n = 4096, .k = 16}, true);
  check(context, "host", {.epilogue = GemmEpilogue::kSwiglu, .m = 1100, .n = 4096, .k = 16}, false);
}

// The rows that the branch reads may lie where the output goes.
TEST(SideBranch, TheOutputMayReplaceItsRows) {
  Context context = test::host_context();
  Matrix w(48, 16, 1), a(2, 16, 2), b(48, 2, 3), x(40, 16, 4);
  auto weights = make_linear(context, LinearKind::kS8, GemmEpilogue::kNone,
                             {.parts = float_parts({{w.view()}})});
  ASSERT_TRUE(weights);
  const int64_t rows[] = {48};
  const SidePart parts[] = {{a.view(), b.view()}};
  weights->side = make_side_branch(context, *weights, rows, parts, DType::kF32).value();
  auto arena =
      Arena::with_capacity(linear_scratch_bytes(context, *weights, 40, DType::kF32)).value();
  context.scratch = &arena;
  std::vector<int8_t> q(x.values.size());
  std::vector<float> scale(40), apart(40 * 48), over(40 * 48);
  std::copy(x.values.begin(), x.values.end(), over.begin());
  Activation input{DType::kI8, q.data(), 40, 16, scale.data(), x.values.data(), DType::kF32};
  ASSERT_TRUE(quantize_rows(context, x.view(), input));
  ASSERT_TRUE(linear(context, *weights, input, apart.data(), DType::kF32, 48));
  input.floats = over.data();
  ASSERT_TRUE(linear(context, *weights, input, over.data(), DType::kF32, 48));
  EXPECT_EQ(apart, over);
}

// One branch of both halves, with one A, is that of each half with its rows.
TEST(SideBranch, OnePartMaySpanLinears) {
  Context context = test::host_context();
  for (const GemmEpilogue epilogue : {GemmEpilogue::kNone, GemmEpilogue::kSwiglu}) {
    Matrix w0(20, 16, 1), w1(20, 16, 2), a(2, 16, 3), b(40, 2, 4), x(3, 16, 5);
    const int64_t rows[] = {20, 20};
    const auto half = [&](int64_t first) {
      return TensorView{b.values.data() + first * 2, DType::kF32, {20, 2}};
    };
    const auto run = [&](const std::vector<SidePart>& parts) {
      auto weights = make_linear(context, LinearKind::kS8, epilogue,
                                 {.parts = float_parts({{w0.view(), w1.view()}})});
      weights->side = make_side_branch(context, *weights, rows, parts, DType::kF32).value();
      auto arena =
          Arena::with_capacity(linear_scratch_bytes(context, *weights, 3, DType::kF32)).value();
      context.scratch = &arena;
      std::vector<int8_t> q(x.values.size());
      std::vector<float> scale(3), y(static_cast<size_t>(3 * weights->out_cols()));
      const Activation input{DType::kI8,   q.data(),        3,          16,
                             scale.data(), x.values.data(), DType::kF32};
      EXPECT_TRUE(quantize_rows(context, x.view(), input));
      EXPECT_TRUE(linear(context, *weights, input, y.data(), DType::kF32, weights->out_cols()));
      return y;
    };
    const std::vector<float> apart =
        run({{a.view(), half(0), 0.5f}, {a.view(), half(20), 0.5f, 20}});
    const std::vector<float> together = run({{a.view(), b.view(), 0.5f}});
    for (size_t i = 0; i < apart.size(); ++i) EXPECT_NEAR(apart[i], together[i], 1e-3f);
    EXPECT_NE(together, run({{a.view(), half(0), 0.5f}}));
  }
}

TEST(SideBranch, WhatDoesNotFitIsRefused) {
  Context context = test::host_context();
  Matrix w(32, 16, 1), a(2, 16, 2), b(32, 2, 3), wide(2, 17, 4);
  auto weights = make_linear(context, LinearKind::kS8, GemmEpilogue::kNone,
                             {.parts = float_parts({{w.view()}})});
  ASSERT_TRUE(weights);
  const int64_t rows[] = {32};
  const auto make = [&](const SidePart& part) {
    return make_side_branch(context, *weights, rows, {{part}}, DType::kBF16);
  };
  EXPECT_THAT(make({wide.view(), b.view()}).error().message,
              testing::HasSubstr("side branch 0: F32 [2, 17] and F32 [32, 2], expected floats [r, "
                                 "16] and [32, r]"));
  EXPECT_FALSE(make({a.view(), b.view(), 1.0f, -1}));
  EXPECT_FALSE(make({a.view(), TensorView{}}));
  EXPECT_FALSE(make({a.view(), b.view(), 1.0f, 1}));  // beyond the last output
  EXPECT_EQ(make_side_branch(context, *weights, rows, {}, DType::kBF16).value(), nullptr);
  // Without the rows it reads.
  weights->side = make({a.view(), b.view()}).value();
  auto arena =
      Arena::with_capacity(linear_scratch_bytes(context, *weights, 1, DType::kF32)).value();
  context.scratch = &arena;
  std::vector<int8_t> q(16);
  std::vector<float> scale(1), y(32);
  const Activation input{DType::kI8, q.data(), 1, 16, scale.data()};
  EXPECT_THAT(linear(context, *weights, input, y.data(), DType::kF32, 32).error().message,
              testing::HasSubstr("a side branch of BF16 reads BF16 rows, which the input lacks"));
}

}  // namespace
}  // namespace intaglio
