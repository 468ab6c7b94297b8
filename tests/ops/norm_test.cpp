// Row norms and gated residuals of every implementation, at every instruction-set level of this
// machine and on its GPU, against the reference.
#include "ops/norm.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string_view>
#include <vector>

#include "ops/norm_cases.h"

namespace intaglio {
namespace {

TEST(Norm, ReferenceByHand) {
  NormCase c;
  c.desc = {NormKind::kRms, 1, 2, 0.5f, DType::kF32};
  c.x = {1.0f, 2.0f};
  c.weight = {3.0f, 1.0f};
  c.modulation = {0.0f, -0.5f};
  // mean of squares 2.5, + 0.5 = 3
  const Output rms = reference_of(c, DType::kF32);
  EXPECT_FLOAT_EQ(rms.as<float>()[0], 3.0f / std::sqrt(3.0f));
  EXPECT_FLOAT_EQ(rms.as<float>()[1], 1.0f / std::sqrt(3.0f));
  // mean 1.5, variance 0.25, + 0.75 = 1
  c.desc.kind = NormKind::kLayer;
  c.desc.eps = 0.75f;
  const Output layer = reference_of(c, DType::kF32);
  EXPECT_FLOAT_EQ(layer.as<float>()[0], -1.5f);
  EXPECT_FLOAT_EQ(layer.as<float>()[1], 0.25f);
  c.shift = {10.0f, -1.0f};
  c.with_shift = true;
  const Output shifted = reference_of(c, DType::kF32);
  EXPECT_FLOAT_EQ(shifted.as<float>()[0], 8.5f);
  EXPECT_FLOAT_EQ(shifted.as<float>()[1], -0.75f);
}

TEST(Norm, MatchesReference) {
  for (const NormKind kind : {NormKind::kRms, NormKind::kLayer}) {
    for (const int64_t cols : kCols) {
      for (const int parts : {0, 1, 2, 3, 4, 5, 6, 7}) {
        NormCase c = make_case(kind, 5, cols, 3.0f, 0.2f);
        c.with_weight = (parts & 1) != 0;
        c.with_modulation = (parts & 2) != 0;
        c.with_shift = (parts & 4) != 0;
        const Output expected = reference_of(c, DType::kF32);
        for_each_implementation([&](const NormImplementation& implementation,
                                    const Context& context) {
          const Output found = run(implementation, c, DType::kF32, context);
          for (int64_t i = 0; i < 5 * cols; ++i) {
            const float e = expected.as<float>()[i];
            // A layer norm subtracts the mean: an element near it keeps the error of the row, not
            // of itself. A shift may cancel what it is added to.
            const float shift =
                c.with_shift ? std::fabs(c.shift[static_cast<size_t>(i % cols)]) : 0.0f;
            const float size =
                (kind == NormKind::kLayer ? std::fmax(std::fabs(e), 0.2f) : std::fabs(e)) + shift;
            ASSERT_NEAR(found.as<float>()[i], e, tolerance_of(context, kind) * size)
                << cols << " columns, element " << i;
          }
        });
      }
    }
  }
}

TEST(Norm, NarrowOutputsFollowTheFloatRow) {
  for (const NormKind kind : {NormKind::kRms, NormKind::kLayer}) {
    for (const int64_t cols : kCols) {
      NormCase c = make_case(kind, 4, cols, 3.0f, 0.2f);
      c.with_shift = cols % 2 != 0;
      for_each_implementation(
          [&](const NormImplementation& implementation, const Context& context) {
            expect_narrow(run(implementation, c, DType::kF32, context),
                          run(implementation, c, DType::kBF16, context),
                          run(implementation, c, DType::kI8, context));
          });
    }
  }
}

// A value within 1e-6 * 127 of a tie: about one in ten thousand.
TEST(Norm, Int8AgainstReference) {
  const NormCase c = make_case(NormKind::kRms, 16, 4608);
  const Output expected = reference_of(c, DType::kI8);
  for_each_implementation([&](const NormImplementation& implementation, const Context& context) {
    const float tolerance = tolerance_of(context, NormKind::kRms);
    expect_near_rows(run(implementation, c, DType::kI8, context), expected, tolerance,
                     16.0 * 4608 / 2000 * static_cast<double>(tolerance / kTolerance));
  });
}

// All vector implementations give the same bits, with any number of threads.
TEST(Norm, SameBitsAcrossLevelsAndThreads) {
  const auto implementations = norm_implementations();
  for (const NormKind kind : {NormKind::kRms, NormKind::kLayer}) {
    for (const int64_t cols : kCols) {
      NormCase c = make_case(kind, 33, cols, 3.0f, 0.2f);
      c.with_shift = cols % 2 != 0;
      for (const DType dtype : {DType::kF32, DType::kBF16, DType::kI8}) {
        const Output* first = nullptr;
        std::vector<Output> outputs;
        outputs.reserve(8);
        for (const NormImplementation& implementation : implementations) {
          if (&implementation == &reference() ||
              implementation.can_run(c.desc, test::host_context()) != nullptr)
            continue;
          for (const int threads : {1, 3}) {
            outputs.push_back(run(implementation, c, dtype, test::host_context(threads)));
            if (first == nullptr) first = &outputs.front();
            ASSERT_EQ(outputs.back().data, first->data) << implementation.name << " " << cols;
            if (dtype == DType::kI8) {
              ASSERT_EQ(outputs.back().scales, first->scales) << implementation.name << " " << cols;
            }
          }
        }
      }
    }
  }
}

// A mean a thousand times the deviation: a mean kept in one float32, or summed in float32, would be
// wrong by 1e-5 of a deviation and more.
TEST(Norm, LayerNormWithLargeMean) {
  const NormCase c = make_case(NormKind::kLayer, 3, 1000, 1.0f, 1000.3f);
  const Output expected = reference_of(c, DType::kF32);
  for_each_implementation([&](const NormImplementation& implementation, const Context& context) {
    const Output found = run(implementation, c, DType::kF32, context);
    // A GPU's mean is a float32 of its own, and its sum has a few steps: half a thousandth of a
    // deviation. E[x^2] - E[x]^2 would leave it a hundredth.
    const float tolerance = context.gpu != nullptr ? 5e-4f : 2e-6f;
    for (int64_t i = 0; i < 3000; ++i)
      ASSERT_NEAR(found.as<float>()[i], expected.as<float>()[i], tolerance);
  });
}

TEST(Norm, ZeroNanAndInfinityRows) {
  NormCase c = make_case(NormKind::kRms, 5, 100);
  const float inf = std::numeric_limits<float>::infinity();
  for (int64_t j = 0; j < 100; ++j) c.x[static_cast<size_t>(j)] = 0.0f;
  c.x[100 + 97] = std::numeric_limits<float>::quiet_NaN();
  c.x[200 + 3] = inf;
  c.x[300 + 99] = -inf;
  for_each_implementation([&](const NormImplementation& implementation, const Context& context) {
    const Output bytes = run(implementation, c, DType::kI8, context);
    EXPECT_EQ(bytes.scales[0], kMinQuantScale);
    for (size_t row = 1; row < 4; ++row) EXPECT_TRUE(std::isnan(bytes.scales[row])) << row;
    EXPECT_TRUE(std::isfinite(bytes.scales[4]));
    for (int64_t i = 0; i < 400; ++i) ASSERT_EQ(bytes.as<int8_t>()[i], 0);
    const Output floats = run(implementation, c, DType::kF32, context);
    for (int64_t j = 0; j < 100; ++j) {
      ASSERT_EQ(floats.as<float>()[j], 0.0f);
      ASSERT_TRUE(std::isnan(floats.as<float>()[100 + j]));
    }
  });
}

// A zero row with a shift is the shift, quantized as any other row.
TEST(Norm, ShiftOfAZeroRow) {
  NormCase c = make_case(NormKind::kLayer, 1, 100);
  c.with_shift = true;
  c.x.assign(100, 0.0f);
  std::vector<int8_t> q(100);
  float scale = 0.0f;
  quantize_by_contract(c.shift.data(), 100, q.data(), &scale);
  for_each_implementation([&](const NormImplementation& implementation, const Context& context) {
    const Output floats = run(implementation, c, DType::kF32, context);
    const Output bytes = run(implementation, c, DType::kI8, context);
    EXPECT_EQ(bytes.scales[0], scale);
    for (size_t j = 0; j < 100; ++j) {
      ASSERT_EQ(floats.as<float>()[j], c.shift[j]);
      ASSERT_EQ(bytes.as<int8_t>()[j], q[j]);
    }
  });
}

TEST(Norm, EachLevelChoosesItsOwnAndChecksArguments) {
  const NormCase c = make_case(NormKind::kRms, 2, 40);
  const Output expected = reference_of(c, DType::kF32);
  for (const CpuIsa isa : {CpuIsa::kRef, CpuIsa::kAvx2, CpuIsa::kAvx512Vnni, CpuIsa::kAmx}) {
    if (isa > host_cpu_features().isa) continue;
    Context context = test::host_context();
    context.cpu = limit_cpu_features(host_cpu_features(), isa);
    Output out(DType::kF32, 2, 40);
    ASSERT_TRUE(norm(context, c.desc, c.args(out)));
    for (int64_t i = 0; i < 80; ++i) {
      ASSERT_NEAR(out.as<float>()[i], expected.as<float>()[i],
                  kTolerance * std::fabs(expected.as<float>()[i]));
    }
    const size_t refusals = static_cast<size_t>(
        std::count_if(norm_implementations().begin(), norm_implementations().end(),
                      [&](const NormImplementation& implementation) {
                        return implementation.device == DeviceKind::kCpu &&
                               implementation.can_run(c.desc, context) != nullptr;
                      }));
    EXPECT_EQ(refusals, isa == CpuIsa::kRef ? 2u : isa == CpuIsa::kAvx2 ? 1u : 0u);
  }

  const Context context = test::host_context();
  Output out(DType::kF32, 2, 40);
  NormDesc desc = c.desc;
  desc.cols = 41;
  EXPECT_FALSE(norm(context, desc, c.args(out)));
  desc = c.desc;
  desc.out_dtype = DType::kI8;
  EXPECT_FALSE(norm(context, desc, c.args(out)));
  NormArgs args = c.args(out);
  args.x = nullptr;
  EXPECT_FALSE(norm(context, c.desc, args));
  Output bytes(DType::kI8, 2, 40);
  args = c.args(bytes);
  args.out.scale_row = nullptr;
  EXPECT_FALSE(norm(context, desc, args));

  std::vector<float> h(80), y(80), weight(40), gate(40);
  const GatedResidualArgs residual{h.data(), y.data(), DType::kF32, weight.data(), gate.data()};
  // The message of a refusal, "" where there is none.
  const auto message = [](const Status& status) {
    return status ? std::string() : status.error().message;
  };
  EXPECT_EQ(message(gated_residual(context, c.desc, residual, nullptr, nullptr)), "");
  EXPECT_FALSE(gated_residual(context, c.desc, residual, &c.desc, nullptr));
  NormDesc layer = c.desc;
  layer.kind = NormKind::kLayer;
  EXPECT_EQ(message(gated_residual(context, layer, residual, nullptr, nullptr)),
            "gated_residual: the norm of y is layer; expected rms or none");
  NormDesc none = c.desc;
  none.kind = NormKind::kNone;
  const std::string nothing_to_write =
      "norm: kind none; expected rms or layer: without a norm there is nothing to write";
  EXPECT_EQ(message(norm(context, none, c.args(out))), nothing_to_write);
  const NormArgs next = c.args(out);
  EXPECT_EQ(message(gated_residual(context, none, residual, &none, &next)), nothing_to_write);
  EXPECT_EQ(message(gated_residual(context, none, residual, &layer, &next)), "");
  GatedResidualArgs wrong = residual;
  wrong.y_dtype = DType::kI8;
  EXPECT_FALSE(gated_residual(context, c.desc, wrong, nullptr, nullptr));
  // e4m3 rows are made on GPUs only.
  NormDesc e4m3 = c.desc;
  e4m3.out_dtype = DType::kF8E4M3;
  args.out.dtype = DType::kF8E4M3;
  args.out.scale_row = weight.data();
  EXPECT_FALSE(norm(context, e4m3, args));
  EXPECT_FALSE(gated_residual(context, c.desc, residual, &e4m3, &args));
  wrong = residual;
  wrong.y = nullptr;
  EXPECT_EQ(message(gated_residual(context, c.desc, wrong, nullptr, nullptr)),
            "gated_residual: h and y must not be null");
}

}  // namespace
}  // namespace intaglio
