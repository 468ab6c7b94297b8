// The row norms and residuals, run on the CPU (emulation/lanes.h) against float64 formulas: every
// path, ragged sizes, odd rows, int8 and e4m3 bit for bit.
#include "row_emulation.h"

namespace intaglio::cuda {
// The kernels' dynamic shared memory. g++ calls the initialiser of what a function declares extern
// thread_local, so there must be one: not a constant.
thread_local float4 row_in_shared[64 * 1024 / 16] = {emulation::poison()};
}  // namespace intaglio::cuda

// Kernels after the emulation, which defines what they are written in.
#include "ops/cpu/quantize_kernels.h"
#include "ops/cuda/kernels/norm_rows.cuh"
#include "quant/rotation.h"
#include "unit/ops/cuda/e4m3_reference.h"

namespace intaglio::cuda {
namespace {

enum class Path { kHeld, kStreamed, kShared, kRagged };

struct Case {
  Path path = Path::kHeld;
  RowUpdate update = RowUpdate::kNone;
  DType y_type = DType::kBF16;
  RowNormKind kind = RowNormKind::kRms;
  int rows = 1, cols = 4;
  bool weight = true, modulation = true;  // of the norm; of the residual: weight and gate
  bool norm = true;                       // a norm follows
  int offset = 0;                         // elements from an aligned address
  bool shift = false;                     // of the norm
  bool normed = true;                     // y of a gated update is
  int group = 0;                          // columns that are turned together
};

template <RowUpdate kUpdate, class YType, DType kOut, bool kShift>
void run_kernel(Path path, const ResidualRowsParams& p) {
  const int64_t rows = p.rows;
  switch (path) {
    case Path::kHeld:
      if (p.cols <= HeldNormConfig<1>::kColumns) {
        run_grid(rows, HeldNormConfig<1>::kThreads,
                 [=] { held_norm_rows<kUpdate, YType, 1, kOut, kShift>(p); });
      } else if (p.cols <= HeldNormConfig<4>::kColumns) {
        run_grid(rows, HeldNormConfig<4>::kThreads,
                 [=] { held_norm_rows<kUpdate, YType, 4, kOut, kShift>(p); });
      } else {
        run_grid(rows, HeldNormConfig<8>::kThreads,
                 [=] { held_norm_rows<kUpdate, YType, 8, kOut, kShift>(p); });
      }
      break;
    case Path::kStreamed:
      run_grid(rows, 256,
               [=] { streamed_norm_rows<kUpdate, YType, true, false, kOut, kShift>(p); });
      break;
    case Path::kShared:
      run_grid(rows, 256, [=] { streamed_norm_rows<kUpdate, YType, true, true, kOut, kShift>(p); });
      break;
    case Path::kRagged:
      run_grid(rows, 64,
               [=] { streamed_norm_rows<kUpdate, YType, false, false, kOut, kShift>(p); });
  }
}

template <RowUpdate kUpdate, class YType, DType kOut>
void run_kernel(Path path, const ResidualRowsParams& p) {
  p.next.shift != nullptr ? run_kernel<kUpdate, YType, kOut, true>(path, p)
                          : run_kernel<kUpdate, YType, kOut, false>(path, p);
}

template <RowUpdate kUpdate, class YType>
void run_kernel(Path path, const ResidualRowsParams& p) {
  p.next.out_type == DType::kF8E4M3 ? run_kernel<kUpdate, YType, DType::kF8E4M3>(path, p)
                                    : run_kernel<kUpdate, YType, DType::kI8>(path, p);
}

void run_kernel(Path path, const ResidualRowsParams& p) {
  const bool f32 = p.y_type == DType::kF32;
  if (p.update == RowUpdate::kNone) {
    run_kernel<RowUpdate::kNone, F32>(path, p);
  } else if (p.update == RowUpdate::kAdd) {
    f32 ? run_kernel<RowUpdate::kAdd, F32>(path, p) : run_kernel<RowUpdate::kAdd, BF16>(path, p);
  } else {
    f32 ? run_kernel<RowUpdate::kGated, F32>(path, p)
        : run_kernel<RowUpdate::kGated, BF16>(path, p);
  }
}

void expect_scale(float got, float expected, int64_t row) {
  if (std::isnan(expected)) {
    ASSERT_TRUE(std::isnan(got)) << row;
  } else {
    ASSERT_EQ(got, expected) << row;
  }
}

// 1 zeros, 2 a NaN, 3 an Inf, 4 tiny, 5 large, 6 a mean far from zero.
float odd_value(int kind, int64_t column, int64_t cols, std::mt19937& random) {
  const float x = normal_value(random);
  switch (kind) {
    case 1:
      return 0.0f;
    case 2:
      return column == cols - 1 ? std::nanf("") : x;
    case 3:
      return column == cols / 2 ? std::numeric_limits<float>::infinity() : x;
    case 4:
      return x * 1e-30f;
    case 5:
      return x * 1e15f;
    case 6:
      return x + 50.0f;
    default:
      return x;
  }
}

struct Row64 {
  std::vector<double> v;
  void normalize(RowNormKind kind, float eps) {
    const auto n = static_cast<double>(v.size());
    double mean = 0.0, squares = 0.0;
    if (kind == RowNormKind::kLayer) {
      for (double x : v) mean += x;
      mean /= n;
    }
    for (double& x : v) x -= mean, squares += x * x;
    const double inverse = 1.0 / std::sqrt(squares / n + static_cast<double>(eps));
    // As norm_rows_params.h says, a row that is not finite is NaN throughout.
    for (double& x : v) x *= std::isfinite(squares) ? inverse : std::nan("");
  }
};

template <RowUpdate kUpdate, class YType, bool kShift>
void run_turned(const ResidualRowsParams& p) {
  if (p.cols <= HeldNormConfig<4>::kColumns) {
    run_grid(p.rows, HeldNormConfig<4>::kThreads,
             [=] { held_norm_rows<kUpdate, YType, 4, DType::kI8, kShift, true>(p); });
  } else {
    run_grid(p.rows, kWideTurnedThreads, [=] {
      held_norm_rows<kUpdate, YType, 4, DType::kI8, kShift, true, kWideTurnedThreads>(p);
    });
  }
}

template <RowUpdate kUpdate, class YType>
void run_turned(const ResidualRowsParams& p) {
  p.next.shift != nullptr ? run_turned<kUpdate, YType, true>(p)
                          : run_turned<kUpdate, YType, false>(p);
}

// Operands of a case; the output is set by who runs it.
struct Operands {
  Operands(const Case& c, std::mt19937& random)
      : h(int64_t{c.rows} * c.cols, c.offset),
        weight(c.cols, c.offset),
        modulation(c.cols, c.offset),
        shift(c.cols, c.offset),
        y_weight(c.cols, c.offset),
        gate(c.cols, c.offset),
        y32(int64_t{c.rows} * c.cols, c.offset),
        y16(int64_t{c.rows} * c.cols, c.offset) {
    for (int64_t i = 0; i < c.cols; ++i) {
      weight[i] = 1.0f + 0.3f * normal_value(random);
      modulation[i] = 0.3f * normal_value(random);
      shift[i] = 2.0f * normal_value(random);
      y_weight[i] = 1.0f + 0.3f * normal_value(random);
      gate[i] = 0.5f * normal_value(random);
    }
    const bool updates = c.update != RowUpdate::kNone;
    for (int64_t i = 0; i < int64_t{c.rows} * c.cols; ++i) {
      const int row = static_cast<int>(i / c.cols);
      // Without an update h is odd by row; with one, y and h by turns.
      h[i] =
          odd_value(updates ? (row % 14 >= 7 ? row % 7 : 0) : row % 7, i % c.cols, c.cols, random);
      const float value = odd_value(row % 14 < 7 ? row % 7 : 0, i % c.cols, c.cols, random);
      y16[i] = BFloat16(value);
      y32[i] = value;
    }
  }

  ResidualRowsParams params(const Case& c) {
    ResidualRowsParams p;
    p.update = c.update;
    p.y_type = c.y_type;
    p.h = h.data();
    p.y = c.y_type == DType::kF32 ? static_cast<const void*>(y32.data()) : y16.data();
    p.weight = c.weight ? y_weight.data() : nullptr;
    p.gate = c.modulation ? gate.data() : nullptr;
    p.eps = kYEps;
    p.rows = c.rows;
    p.cols = c.cols;
    p.next.kind = c.kind;
    p.next.eps = kEps;
    p.next.weight = c.weight ? weight.data() : nullptr;
    p.next.modulation = c.modulation ? modulation.data() : nullptr;
    p.next.shift = c.shift ? shift.data() : nullptr;
    p.normed = c.normed;
    return p;
  }

  static constexpr float kYEps = 1e-5f, kEps = 1e-6f;
  Memory<float> h, weight, modulation, shift, y_weight, gate, y32;
  Memory<BFloat16> y16;
};

class NormRows : public testing::Test {
 protected:
  void check(const Case& c) {
    const int64_t count = int64_t{c.rows} * c.cols;
    Operands in(c, random_);
    auto& [h, weight, modulation, shift, y_weight, gate, y32, y16] = in;
    const bool updates = c.update != RowUpdate::kNone;
    const std::vector<float> before(h.data(), h.data() + count);
    ResidualRowsParams p = in.params(c);

    // One run an output type, each from the same h.
    Memory<float> out(count, c.offset), scale(c.rows), e4m3_scale(c.rows);
    Memory<BFloat16> out16(count, c.offset);
    Memory<int8_t> q(count, c.offset);
    Memory<uint8_t> e4m3(count, c.offset);
    std::vector<float> after;
    for (DType type : {DType::kF32, DType::kBF16, DType::kI8, DType::kF8E4M3}) {
      std::copy(before.begin(), before.end(), h.data());
      p.next.out_type = type;
      p.next.scale = type == DType::kI8       ? scale.data()
                     : type == DType::kF8E4M3 ? e4m3_scale.data()
                                              : nullptr;
      p.next.out = type == DType::kF32    ? static_cast<void*>(out.data())
                   : type == DType::kBF16 ? static_cast<void*>(out16.data())
                   : type == DType::kI8   ? static_cast<void*>(q.data())
                                          : static_cast<void*>(e4m3.data());
      if (!c.norm) p.next.out = nullptr;
      run_kernel(c.path, p);
      const std::vector<float> now(h.data(), h.data() + count);
      if (after.empty()) after = now;
      ASSERT_EQ(std::memcmp(after.data(), now.data(), now.size() * 4), 0)
          << "the output type changes h";
    }
    if (!updates) {
      ASSERT_EQ(std::memcmp(after.data(), before.data(), before.size() * 4), 0);
    }

    for (int64_t row = 0; row < c.rows; ++row) {
      const int64_t start = row * c.cols;
      if (updates) {
        Row64 y{.v = std::vector<double>(static_cast<size_t>(c.cols))};
        for (size_t i = 0; i < y.v.size(); ++i)
          y.v[i] = c.y_type == DType::kF32 ? y32[start + static_cast<int64_t>(i)]
                                           : as_float(y16[start + static_cast<int64_t>(i)]);
        if (c.update == RowUpdate::kGated && c.normed)
          y.normalize(RowNormKind::kRms, Operands::kYEps);
        for (int64_t i = 0; i < c.cols; ++i) {
          double update = y.v[static_cast<size_t>(i)];
          if (c.update == RowUpdate::kGated)
            update *=
                (c.weight ? double{y_weight[i]} : 1.0) * (c.modulation ? double{gate[i]} : 1.0);
          const double old = before[static_cast<size_t>(start + i)];
          ASSERT_TRUE(
              is_near(h[start + i], old + update, 8.0,
                      std::isfinite(old + update) ? std::fabs(old) + std::fabs(update) : 0.0))
              << row << ", " << i << ": " << h[start + i] << " for " << old + update;
        }
      }
      if (!c.norm) continue;
      Row64 x{.v = std::vector<double>(h.data() + start, h.data() + start + c.cols)};
      x.normalize(c.kind, Operands::kEps);
      for (int64_t i = 0; i < c.cols; ++i) {
        double expected = x.v[static_cast<size_t>(i)];
        if (c.weight) expected *= double{weight[i]};
        if (c.modulation) expected *= 1.0 + double{modulation[i]};
        // What the shift is added to keeps its error when they cancel.
        const double size = c.shift ? std::fabs(expected) : 0.0;
        if (c.shift) expected += double{shift[i]};
        // The mean of 50 in float costs the layer norm some bits.
        ASSERT_TRUE(is_near(out[start + i], expected, c.kind == RowNormKind::kLayer ? 2000 : 12,
                            std::max(size, c.kind == RowNormKind::kLayer ? 1.0 : 1e-30)))
            << row << ", " << i << ": " << out[start + i] << " for " << expected;
        ASSERT_EQ(std::isnan(as_float(out16[start + i])), std::isnan(out[start + i]));
        if (!std::isnan(out[start + i])) {
          ASSERT_EQ(out16[start + i].bits, BFloat16(out[start + i]).bits) << row << ", " << i;
        }
      }
      std::vector<int8_t> expected_q(static_cast<size_t>(c.cols));
      const float expected_scale =
          ref_quantize_row_f32(out.data() + start, c.cols, expected_q.data());
      expect_scale(scale[row], expected_scale, row);
      ASSERT_EQ(std::memcmp(expected_q.data(), q.data() + start, expected_q.size()), 0) << row;
      std::vector<uint8_t> expected_e4m3(expected_q.size());
      expect_scale(e4m3_scale[row],
                   reference_e4m3_row(out.data() + start, c.cols, expected_e4m3.data()), row);
      ASSERT_EQ(std::memcmp(expected_e4m3.data(), e4m3.data() + start, expected_e4m3.size()), 0)
          << row;
    }
    for (auto* memory : {&h, &out, &scale, &e4m3_scale, &weight, &y32})
      EXPECT_TRUE(memory->guards_are_whole());
    EXPECT_TRUE(out16.guards_are_whole());
    EXPECT_TRUE(q.guards_are_whole() && e4m3.guards_are_whole());
  }

  void check_turned(const Case& c) {
    const int64_t count = int64_t{c.rows} * c.cols;
    Operands in(c, random_);
    const std::vector<float> before(in.h.data(), in.h.data() + count);
    ResidualRowsParams p = in.params(c);
    Memory<float> out(count), scale(c.rows);
    Memory<int8_t> q(count);
    p.next.out = out.data();
    run_kernel(Path::kHeld, p);
    const std::vector<float> after(in.h.data(), in.h.data() + count);

    std::copy(before.begin(), before.end(), in.h.data());
    p.next.out = q.data();
    p.next.out_type = DType::kI8;
    p.next.scale = scale.data();
    p.next.group = c.group;
    if (c.update == RowUpdate::kNone) {
      run_turned<RowUpdate::kNone, F32>(p);
    } else {
      run_turned<RowUpdate::kGated, BF16>(p);
    }
    // The sums of y are added in another order.
    for (int64_t i = 0; i < count; ++i) {
      const float plain = after[static_cast<size_t>(i)];
      const float size = std::fabs(plain) + std::fabs(before[static_cast<size_t>(i)]);
      ASSERT_TRUE(std::isfinite(plain) ? std::fabs(in.h[i] - plain) <= 1e-6f * size
                                       : !std::isfinite(in.h[i]))
          << i << ": " << in.h[i] << " for " << plain;
    }

    int64_t other_step = 0;
    for (int64_t row = 0; row < c.rows; ++row) {
      float* const turned = out.data() + row * c.cols;
      rotate_row(turned, c.cols, c.group);
      std::vector<int8_t> expected(static_cast<size_t>(c.cols));
      const float expected_scale = ref_quantize_row_f32(turned, c.cols, expected.data());
      if (std::isnan(expected_scale)) {
        ASSERT_TRUE(std::isnan(scale[row])) << row;
      } else {
        ASSERT_NEAR(scale[row], expected_scale, 1e-6f * expected_scale) << row;
      }
      for (int64_t i = 0; i < c.cols; ++i) {
        const int step = std::abs(q[row * c.cols + i] - expected[static_cast<size_t>(i)]);
        ASSERT_LE(step, 1) << row << ", " << i;
        other_step += step;
      }
    }
    EXPECT_LE(other_step, count / 1000 + 1);
    EXPECT_TRUE(scale.guards_are_whole() && q.guards_are_whole() && in.h.guards_are_whole());
  }

  std::mt19937 random_{11};
};

TEST_F(NormRows, HeldRowsOfEveryLength) {
  for (int cols : {4, 124, 1024, 1028, 4608, 4612, 12288}) {
    for (RowNormKind kind : {RowNormKind::kRms, RowNormKind::kLayer}) {
      SCOPED_TRACE(cols);
      check({.kind = kind, .rows = cols > 2000 ? 2 : 7, .cols = cols});
    }
  }
}

TEST_F(NormRows, HeldResiduals) {
  for (RowUpdate update : {RowUpdate::kAdd, RowUpdate::kGated}) {
    for (DType type : {DType::kBF16, DType::kF32}) {
      for (int cols : {8, 1000, 1028, 5120}) {
        SCOPED_TRACE(cols);
        check({.update = update,
               .y_type = type,
               .kind = cols == 1000 ? RowNormKind::kLayer : RowNormKind::kRms,
               .rows = cols == 5120 ? 2 : 14,
               .cols = cols});
      }
    }
  }
}

// Against the floats of the same rows, turned and quantized by the reference. H t * inverse is
// rounded at other places than H (t * inverse), by some 2^-24 of the row's largest: so a scale is
// near, and a value that lies between two steps may fall to the other one.
TEST_F(NormRows, TurnedRows) {
  for (const int group : {16, 64, 256}) {
    for (const bool shift : {false, true}) {
      SCOPED_TRACE(testing::Message() << group << (shift ? " with a shift" : ""));
      check_turned({.rows = 7, .cols = 256, .shift = shift, .group = group});
      check_turned({.update = RowUpdate::kGated,
                    .kind = shift ? RowNormKind::kLayer : RowNormKind::kRms,
                    .rows = 14,
                    .cols = 256,
                    .modulation = shift,
                    .shift = shift,
                    .normed = !shift,
                    .group = group});
    }
  }
  check_turned({.kind = RowNormKind::kLayer, .rows = 7, .cols = 48, .group = 16});
  check_turned({.rows = 7, .cols = 192, .weight = false, .group = 64});
}

TEST_F(NormRows, TurnedRowsOfEveryLength) {
  for (const int cols : {3840, 4608, 4864, 6144}) {
    SCOPED_TRACE(cols);
    check_turned({.cols = cols, .shift = cols == 3840, .group = 256});
    if (cols != 4608 && cols != 6144) continue;
    for (const bool shift : {false, true})
      check_turned(
          {.update = RowUpdate::kGated, .rows = 1, .cols = cols, .shift = shift, .group = 64});
  }
}

// Every path, both kinds, odd rows: quantized rows are bit for bit those of the shifted floats.
TEST_F(NormRows, ShiftedNorms) {
  for (RowNormKind kind : {RowNormKind::kRms, RowNormKind::kLayer}) {
    for (int cols : {4, 1000, 1028, 5120})
      check({.kind = kind, .rows = cols == 5120 ? 2 : 7, .cols = cols, .shift = true});
    for (Path path : {Path::kStreamed, Path::kShared, Path::kRagged})
      check({.path = path, .kind = kind, .rows = 7, .cols = 516, .shift = true});
    for (Path path : {Path::kHeld, Path::kStreamed, Path::kRagged})
      check({.path = path,
             .update = RowUpdate::kGated,
             .kind = kind,
             .rows = 7,
             .cols = 516,
             .shift = true});
    check({.path = Path::kRagged, .kind = kind, .rows = 7, .cols = 63, .offset = 1, .shift = true});
  }
}

// A y that is not normed, as models have it before a layer norm with a shift.
TEST_F(NormRows, GatedWithoutANorm) {
  for (DType type : {DType::kBF16, DType::kF32}) {
    for (bool shift : {false, true}) {
      for (int cols : {8, 1028, 5120})
        check({.update = RowUpdate::kGated,
               .y_type = type,
               .kind = RowNormKind::kLayer,
               .rows = cols == 8 ? 14 : 2,
               .cols = cols,
               .weight = false,
               .shift = shift,
               .normed = false});
    }
    for (Path path : {Path::kStreamed, Path::kRagged})
      check({.path = path,
             .update = RowUpdate::kGated,
             .y_type = type,
             .rows = 14,
             .cols = 132,
             .shift = path == Path::kRagged,
             .normed = false});
  }
}

TEST_F(NormRows, VectorsMayBeMissingAndTheNormToo) {
  for (Path path : {Path::kHeld, Path::kStreamed, Path::kRagged}) {
    for (RowUpdate update : {RowUpdate::kNone, RowUpdate::kAdd, RowUpdate::kGated}) {
      for (int which = 0; which < 3; ++which)
        check({.path = path,
               .update = update,
               .rows = 3,
               .cols = 516,
               .weight = which == 1,
               .modulation = which == 2});
      if (update != RowUpdate::kNone)
        check({.path = path, .update = update, .rows = 14, .cols = 516, .norm = false});
    }
  }
}

TEST_F(NormRows, StreamedAndSharedRows) {
  for (Path path : {Path::kStreamed, Path::kShared}) {
    for (RowNormKind kind : {RowNormKind::kRms, RowNormKind::kLayer}) {
      for (int cols : {4, 1024, 4100, 13312})
        check({.path = path, .kind = kind, .rows = 7, .cols = cols});
    }
  }
  for (RowUpdate update : {RowUpdate::kAdd, RowUpdate::kGated}) {
    for (DType type : {DType::kBF16, DType::kF32})
      check({.path = Path::kStreamed, .update = update, .y_type = type, .rows = 14, .cols = 5000});
  }
}

TEST_F(NormRows, RaggedAndUnalignedRows) {
  for (int cols : {1, 3, 63, 1001}) {
    for (RowUpdate update : {RowUpdate::kNone, RowUpdate::kAdd, RowUpdate::kGated}) {
      for (RowNormKind kind : {RowNormKind::kRms, RowNormKind::kLayer}) {
        // A single column has no variance: its layer norm is 0 of whatever rounding leaves.
        SCOPED_TRACE(cols);
        check({.path = Path::kRagged,
               .update = update,
               .y_type = cols % 2 ? DType::kBF16 : DType::kF32,
               .kind = kind,
               .rows = 14,
               .cols = cols,
               .offset = cols % 4});
      }
    }
  }
}

}  // namespace
}  // namespace intaglio::cuda
