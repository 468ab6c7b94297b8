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

#include "ops/each_implementation.h"
#include "ops/quantize.h"

namespace intaglio {
namespace {

// Statistics in float32 lanes and a few float32 roundings an element: measured below 5e-7 of the
// element. Those of a GPU are float32 sums throughout: a step or two more for each doubling of the
// columns, and a mean that a layer norm subtracts has them too.
constexpr float kTolerance = 1e-6f;
float tolerance_of(const Context& context, NormKind kind) {
  if (context.gpu == nullptr) return kTolerance;
  return kind == NormKind::kLayer ? 1e-5f : 4e-6f;
}

std::vector<float> random_floats(int64_t count, uint32_t seed, float scale = 1.0f,
                                 float offset = 0.0f) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = offset + scale * normal(generator);
  return values;
}

std::vector<BFloat16> to_bf16(const std::vector<float>& values) {
  std::vector<BFloat16> halves;
  for (const float value : values) halves.emplace_back(value);
  return halves;
}

// An output of any type, filled with a pattern before it is written; all its bytes, data then
// scales, compare at once.
struct Output {
  DType dtype;
  int64_t rows, cols;
  std::vector<std::byte> data;
  std::vector<float> scales;

  Output(DType type, int64_t r, int64_t c)
      : dtype(type),
        rows(r),
        cols(c),
        data(static_cast<size_t>(r * c) * dtype_size(type), std::byte{0x55}),
        scales(static_cast<size_t>(r), -1.0f) {}

  Activation activation() {
    return {dtype, data.data(), rows, cols, dtype == DType::kI8 ? scales.data() : nullptr};
  }
  template <typename T>
  const T* as() const {
    return reinterpret_cast<const T*>(data.data());
  }
};

struct NormCase {
  NormDesc desc;
  std::vector<float> x, weight, modulation, shift;
  bool with_weight = true, with_modulation = true, with_shift = false;

  NormArgs args(Output& out) const {
    return {.x = x.data(),
            .weight = with_weight ? weight.data() : nullptr,
            .modulation = with_modulation ? modulation.data() : nullptr,
            .shift = with_shift ? shift.data() : nullptr,
            .out = out.activation()};
  }
  // Where a device has them.
  NormArgs args(Output& out, test::Operands& on) const {
    NormArgs a = args(out);
    const auto moved = [&](const float* values, const std::vector<float>& all) {
      return on.in(const_cast<float*>(values), all.size());
    };
    a.x = moved(a.x, x);
    a.weight = moved(a.weight, weight);
    a.modulation = moved(a.modulation, modulation);
    a.shift = moved(a.shift, shift);
    a.out.data = on.out(a.out.data, out.data.size());
    a.out.scale_row = on.out(a.out.scale_row, out.scales.size());
    return a;
  }
};

NormCase make_case(NormKind kind, int64_t rows, int64_t cols, float scale = 1.0f,
                   float offset = 0.0f) {
  NormCase c;
  c.desc = {kind, rows, cols, 1e-6f, DType::kF32};
  c.x = random_floats(rows * cols, 1, scale, offset);
  c.weight = random_floats(cols, 2, 0.3f, 1.0f);
  c.modulation = random_floats(cols, 3, 0.3f);
  c.shift = random_floats(cols, 8, 2.0f);
  return c;
}

Output run(const NormImplementation& implementation, const NormCase& c, DType dtype,
           const Context& context) {
  Output out(dtype, c.desc.rows, c.desc.cols);
  NormDesc desc = c.desc;
  desc.out_dtype = dtype;
  test::Operands on(context);
  const Status status = implementation.norm(context, desc, c.args(out, on));
  EXPECT_TRUE(status) << status.error().message;
  on.fetch();
  return out;
}

const NormImplementation& reference() { return norm_implementations().back(); }
Output reference_of(const NormCase& c, DType dtype) {
  return run(reference(), c, dtype, test::host_context());
}

template <typename Fn>
void for_each_implementation(Fn&& fn) {
  test::each_implementation(norm_implementations(), NormDesc{}, fn);
}

// Columns around the vector (16), the unrolled loop (64) and the stretch between float64 sums
// (2048), and such as a GPU does not hold at once.
const std::vector<int64_t> kCols{1,   3,    15,   16,   17,   40,   64,    65,   127,
                                 384, 2047, 2048, 2049, 4608, 5000, 20000, 53248};

// ops/quantize.h, from its text.
void quantize_by_contract(const float* x, int64_t cols, int8_t* q, float* scale) {
  float absmax = 0.0f;
  for (int64_t c = 0; c < cols; ++c) absmax = std::fmax(absmax, std::fabs(x[c]));
  *scale = std::fmax(absmax / 127.0f, kMinQuantScale);
  for (int64_t c = 0; c < cols; ++c) {
    const float r = absmax == 0.0f ? 0.0f : std::nearbyint(x[c] * (127.0f / absmax));
    q[c] = static_cast<int8_t>(std::fmin(127.0f, std::fmax(-127.0f, r)));
  }
}

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

// The bf16 and int8 outputs are functions of the float output: of the same implementation, to the
// last bit.
void expect_narrow(const Output& floats, const Output& halves, const Output& bytes) {
  const int64_t cols = floats.cols;
  std::vector<int8_t> q(static_cast<size_t>(cols));
  for (int64_t row = 0; row < floats.rows; ++row) {
    const float* values = floats.as<float>() + row * cols;
    float scale = 0.0f;
    quantize_by_contract(values, cols, q.data(), &scale);
    ASSERT_EQ(bytes.scales[static_cast<size_t>(row)], scale) << cols;
    for (int64_t j = 0; j < cols; ++j) {
      ASSERT_EQ(halves.as<BFloat16>()[row * cols + j].bits, BFloat16(values[j]).bits)
          << cols << " " << j;
      ASSERT_EQ(bytes.as<int8_t>()[row * cols + j], q[static_cast<size_t>(j)]) << cols << " " << j;
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

// Int8 rows are one step apart where rounding falls on the other side, in at most so many values.
void expect_near_rows(const Output& found, const Output& expected, float tolerance, double most) {
  int64_t differing = 0;
  for (int64_t i = 0; i < found.rows * found.cols; ++i) {
    const int difference = std::abs(found.as<int8_t>()[i] - expected.as<int8_t>()[i]);
    ASSERT_LE(difference, 1) << i;
    differing += difference;
  }
  EXPECT_LE(static_cast<double>(differing), most);
  for (size_t row = 0; row < found.scales.size(); ++row)
    EXPECT_NEAR(found.scales[row], expected.scales[row], tolerance * expected.scales[row]);
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
