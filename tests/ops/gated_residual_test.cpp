// Gated residuals, with and without the norm that follows, and norms that turn their rows, of every
// implementation at every instruction-set level of this machine and on its GPU.
#include <gtest/gtest.h>

#include <utility>

#include "ops/norm_cases.h"

namespace intaglio {
namespace {

// What a gated residual has of its update.
struct UpdateParts {
  bool normed, weight, gate;
};

// The next norm is layer with a shift where y is not normed, as the models have it.
void check_gated_residual(int64_t cols, DType y_dtype, const UpdateParts& parts) {
  const int64_t rows = 5;
  const NormDesc desc{parts.normed ? NormKind::kRms : NormKind::kNone, rows, cols, 1e-6f,
                      DType::kF32};
  const std::vector<float> h0 = random_floats(rows * cols, 4);
  const std::vector<float> y = random_floats(rows * cols, 5, 10.0f);
  const std::vector<BFloat16> y_half = to_bf16(y);
  const std::vector<float> weight = random_floats(cols, 6, 0.3f, 1.0f);
  const std::vector<float> gate = random_floats(cols, 7);
  NormCase next_case = make_case(parts.normed ? NormKind::kRms : NormKind::kLayer, rows, cols);
  next_case.with_shift = !parts.normed;
  const auto apply = [&](const NormImplementation& implementation, const Context& context,
                         std::vector<float>& h, Output* next) {
    h = h0;
    test::Operands on(context);
    const auto moved = [&](const std::vector<float>& values, bool wanted) {
      return wanted ? on.in(const_cast<float*>(values.data()), values.size()) : nullptr;
    };
    const GatedResidualArgs args{
        on.out(h.data(), h.size()),
        y_dtype == DType::kBF16
            ? static_cast<const void*>(on.in(const_cast<BFloat16*>(y_half.data()), y_half.size()))
            : moved(y, true),
        y_dtype, moved(weight, parts.weight), moved(gate, parts.gate)};
    NormDesc next_desc = next_case.desc;
    NormArgs next_args;
    if (next != nullptr) {
      next_desc.out_dtype = next->dtype;
      next_args = next_case.args(*next, on);
      next_args.x = nullptr;
    }
    const Status status =
        implementation.gated_residual(context, desc, args, next != nullptr ? &next_args : nullptr,
                                      next != nullptr ? &next_desc : nullptr);
    EXPECT_TRUE(status) << status.error().message;
    on.fetch();
  };
  std::vector<float> expected;
  apply(reference(), test::host_context(), expected, nullptr);
  for_each_implementation([&](const NormImplementation& implementation, const Context& context) {
    std::vector<float> h;
    apply(implementation, context, h, nullptr);
    for (size_t i = 0; i < h.size(); ++i) {
      // The update is at most gate * normed value; its error and the sum's rounding are below
      // 1e-6 of the two.
      const float size = std::fabs(expected[i]) + std::fabs(expected[i] - h0[i]);
      ASSERT_NEAR(h[i], expected[i], tolerance_of(context, NormKind::kRms) * size)
          << cols << " " << i;
    }
    // The fused next norm is the norm of the updated rows, and does not change them.
    NormCase alone = next_case;
    alone.x = h;
    const auto fused_with = [&](DType dtype) {
      std::vector<float> h_fused;
      Output fused(dtype, rows, cols);
      apply(implementation, context, h_fused, &fused);
      EXPECT_EQ(h_fused, h);
      return fused;
    };
    if (context.gpu == nullptr) {  // to the last bit
      for (const DType dtype : {DType::kF32, DType::kBF16, DType::kI8}) {
        const Output fused = fused_with(dtype),
                     separate = run(implementation, alone, dtype, context);
        ASSERT_EQ(fused.data, separate.data);
        ASSERT_EQ(fused.scales, separate.scales);
      }
      return;
    }
    // On a GPU the two may add in another order, but what is narrow follows the floats.
    const Output floats = fused_with(DType::kF32),
                 separate = run(implementation, alone, DType::kF32, context);
    for (int64_t i = 0; i < rows * cols; ++i) {
      const float e = separate.as<float>()[i];
      const float shift =
          next_case.with_shift ? std::fabs(next_case.shift[static_cast<size_t>(i % cols)]) : 0.0f;
      ASSERT_NEAR(
          floats.as<float>()[i], e,
          tolerance_of(context, next_case.desc.kind) * (std::fmax(std::fabs(e), 0.2f) + shift))
          << cols << " " << i;
    }
    expect_narrow(floats, fused_with(DType::kBF16), fused_with(DType::kI8));
  });
}

TEST(GatedResidual, MatchesReferenceAndNext) {
  for (const int64_t cols : kCols) {
    for (const DType y_dtype : {DType::kF32, DType::kBF16}) {
      for (int which = 0; which < 8; ++which)
        check_gated_residual(cols, y_dtype, {(which & 1) != 0, (which & 2) != 0, (which & 4) != 0});
    }
  }
}

// Where a norm turns its rows: alone, and behind a residual, whose h it must not touch otherwise
// than without it. A turn of 256 adds eight values' errors at four stages.
TEST(Norm, TurnedRowsAgainstReference) {
  const std::pair<int64_t, int64_t> sizes[] = {{16, 48},   {64, 192},   {256, 256}, {256, 3840},
                                               {64, 4608}, {256, 4608}, {256, 6144}};
  for (const auto& size : sizes) {
    const int64_t group = size.first, cols = size.second;
    for (const bool shift : {false, true}) {
      SCOPED_TRACE(testing::Message() << cols << " in " << group << (shift ? ", shift" : ""));
      NormCase c = make_case(shift ? NormKind::kLayer : NormKind::kRms, 6, cols);
      c.with_shift = shift;
      c.desc.rotation = Rotation::convrot(group);
      c.desc.out_dtype = DType::kI8;
      // What is added to h is h itself, which bf16 holds.
      for (float& x : c.x) x = static_cast<float>(BFloat16(x));
      const Output expected = reference_of(c, DType::kI8);
      NormCase doubled = c;
      for (float& x : doubled.x) x *= 2.0f;
      const Output expected_next = reference_of(doubled, DType::kI8);
      const std::vector<BFloat16> half = to_bf16(c.x);
      const double most = 6.0 * static_cast<double>(cols) / 500.0 + 1.0;
      test::each_implementation(
          norm_implementations(), c.desc,
          [&](const NormImplementation& implementation, const Context& context) {
            const float tolerance = tolerance_of(context, c.desc.kind);
            expect_near_rows(run(implementation, c, DType::kI8, context), expected, tolerance,
                             most);
            for (const DType y_dtype : {DType::kBF16, DType::kF32}) {
              std::vector<float> h = c.x;
              Output next(DType::kI8, 6, cols);
              test::Operands on(context);
              const void* const y = y_dtype == DType::kBF16
                                        ? static_cast<const void*>(on.in(
                                              const_cast<BFloat16*>(half.data()), half.size()))
                                        : on.in(const_cast<float*>(c.x.data()), c.x.size());
              NormArgs next_args = c.args(next, on);
              next_args.x = nullptr;
              const NormDesc residual{NormKind::kNone, 6, cols, 1e-6f, DType::kF32};
              const Status status = implementation.gated_residual(
                  context, residual, {on.out(h.data(), h.size()), y, y_dtype}, &next_args, &c.desc);
              ASSERT_TRUE(status) << status.error().message;
              on.fetch();
              ASSERT_EQ(h, doubled.x);
              expect_near_rows(next, expected_next, tolerance, most);
            }
          });
    }
  }
}

}  // namespace
}  // namespace intaglio
