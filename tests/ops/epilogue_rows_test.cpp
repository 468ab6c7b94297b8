// The epilogue of products that fuse none: every implementation at every level against the
// reference in F64.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "ops/each_implementation.h"
#include "ops/elementwise.h"
#include "ops/elementwise_implementations.h"
#include "ops/ref/epilogue_tolerance.h"

namespace intaglio {
namespace {

constexpr float kGuard = -7.0f;

struct Shape {
  int64_t rows, cols, ldo;
  int64_t gap = 0;  // between rows of the product
};

// What `run` wrote where the context is, as F32; what lies between rows among it.
template <typename Run>
std::vector<float> output_of(const EpilogueRows& op, const std::vector<float>& product,
                             const Context& context, Run&& run) {
  std::vector<BFloat16> narrow(product.begin(), product.end());
  const auto count = static_cast<size_t>(op.rows * op.ldo);
  std::vector<float> out(count, kGuard);
  std::vector<BFloat16> halves(count, BFloat16(kGuard));
  EpilogueRows there = op;
  test::Operands on(context);
  there.product =
      op.product_dtype == DType::kF32
          ? static_cast<const void*>(on.in(const_cast<float*>(product.data()), product.size()))
          : on.in(narrow.data(), narrow.size());
  there.out = op.out_dtype == DType::kF32 ? static_cast<void*>(on.out(out.data(), count))
                                          : on.out(halves.data(), count);
  const Status status = run(context, there);
  EXPECT_TRUE(status) << status.error().message;
  on.fetch();
  for (size_t i = 0; op.out_dtype != DType::kF32 && i < count; ++i)
    out[i] = static_cast<float>(halves[i]);
  return out;
}

TEST(EpilogueRows, MatchesTheReference) {
  for (const GemmEpilogue epilogue : kGemmEpilogues) {
    if (!needs_pass(epilogue)) continue;
    SCOPED_TRACE(epilogue_name(epilogue));
    for (const Shape shape : {Shape{1, 1, 1}, Shape{3, 5, 9, 2}, Shape{7, 33, 33, 96},
                              Shape{9, 640, 641}, Shape{5, 64, 64}, Shape{5, 64, 128, 192}}) {
      const int64_t n = (is_gated(epilogue) ? 2 * shape.cols : shape.cols) + shape.gap;
      std::mt19937 random(5);
      std::normal_distribution<float> normal(0.0f, 4.0f);
      std::vector<float> product(static_cast<size_t>(shape.rows * n));
      for (float& y : product) y = normal(random);
      if (shape.cols > 8) {
        product[2] = std::nanf(""), product[3] = std::numeric_limits<float>::infinity();
        product[4] = 1e9f, product[5] = -60.0f, product[6] = 0.0f;
      }
      for (const auto& [in, dtype] : {std::pair{DType::kF32, DType::kF32},
                                      {DType::kF32, DType::kBF16},
                                      {DType::kBF16, DType::kF32},
                                      {DType::kBF16, DType::kBF16}}) {
        const EpilogueRows op{.epilogue = epilogue,
                              .product = product.data(),
                              .product_dtype = in,
                              .out = product.data(),
                              .out_dtype = dtype,
                              .rows = shape.rows,
                              .cols = shape.cols,
                              .ldo = shape.ldo,
                              .ld = shape.gap == 0 ? 0 : n};
        const std::vector<float> expected = output_of(op, product, {}, ref::epilogue_rows);
        const auto check = [&](const auto& by, const Context& context) {
          const std::vector<float> out = output_of(op, product, context, by.run);
          for (size_t i = 0; i < out.size(); ++i) {
            if (static_cast<int64_t>(i) % shape.ldo >= shape.cols) {
              ASSERT_EQ(out[i], kGuard) << i;
            } else if (!std::isfinite(expected[i])) {
              ASSERT_EQ(std::isnan(out[i]), std::isnan(expected[i])) << i;
              ASSERT_EQ(std::isinf(out[i]), std::isinf(expected[i])) << i;
            } else {
              // exp is 2e-7 off; a sum, a quotient, a product of half a unit each. Where exp
              // ends, at 88, less than 1e-36 is left of silu. Of bf16 the two may be neighbours.
              const double size = std::abs(static_cast<double>(expected[i]));
              const double step =
                  op.out_dtype == DType::kBF16 ? 0x1p-7 : ref::epilogue_error(epilogue, size, 5e-7);
              ASSERT_NEAR(out[i], expected[i], size * step + 1e-30) << i;
            }
          }
        };
        test::each_implementation(epilogue_rows_implementations(), op, check);
      }
    }
  }
}

TEST(EpilogueRows, TakesAProductOfBf16) {
  const std::vector<BFloat16> product = {BFloat16(1.0f), BFloat16(3.0f)};
  float out = 0.0f;
  ASSERT_TRUE(epilogue_rows({}, {.product = product.data(),
                                 .product_dtype = DType::kBF16,
                                 .out = &out,
                                 .rows = 1,
                                 .cols = 1,
                                 .ldo = 1}));
  EXPECT_NEAR(out, 3.0 / (1.0 + std::exp(-1.0)), 1e-6);
}

TEST(EpilogueRows, RefusalsNameTheField) {
  const auto problem = [](const EpilogueRows& op) {
    const Status status = epilogue_rows({}, op);
    return status ? "" : status.error().message;
  };
  float x[8] = {};
  EXPECT_EQ(problem({.product = x, .out = x, .rows = 1, .cols = 4, .ldo = 3}),
            "epilogue_rows: ldo is 3; expected cols, 4, or more");
  EXPECT_EQ(problem({.product = x, .out = x, .rows = 1, .cols = 4, .ldo = 4, .ld = 7}),
            "epilogue_rows: ld is 7; expected 0 (dense) or the product's columns, 8, or more");
  EXPECT_EQ(problem({.product = x, .out = nullptr, .rows = 1, .cols = 4, .ldo = 4}),
            "epilogue_rows: out is null");
  EXPECT_EQ(problem({.product = x, .product_dtype = DType::kI8, .out = x}),
            "epilogue_rows: product is I8; expected F32 or BF16");
  EXPECT_EQ(problem({.epilogue = GemmEpilogue::kNone, .product = x, .out = x}),
            "epilogue_rows: the epilogue is none; expected one that changes the product");
  EXPECT_EQ(problem({.epilogue = GemmEpilogue::kSwiglu}), "");
}

}  // namespace
}  // namespace intaglio
