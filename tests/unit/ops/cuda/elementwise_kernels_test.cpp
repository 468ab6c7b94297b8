// The small passes over floats, run on the CPU (emulation/lanes.h) against double loops: ragged ends, rows out of line, odd values, guards around every output.
#include "row_emulation.h"
// Kernels after the emulation, which defines what they are written in.
#include "ops/cuda/kernels/elementwise.cuh"

namespace intaglio::cuda {
namespace {

int64_t blocks_for(int64_t count) { return (count + kElementsOfBlock - 1) / kElementsOfBlock; }

class Elementwise : public testing::Test {
 protected:
  template <typename T>
  void fill(Memory<T>& x, float size = 1.0f) {
    for (int64_t i = 0; i < x.count(); ++i) x[i] = T(size * normal_value(random_));
    if (x.count() > 5) x[x.count() - 2] = T(std::nanf(""));
  }
  // Counts at the edges of a piece and of a block, aligned or not.
  template <typename Check>
  void each_count(Check&& check) {
    for (int64_t count : {1, 3, 4, 7, 4095, 4096, 4099, 9000}) {
      for (int shift : {0, 1}) {
        SCOPED_TRACE(testing::Message() << count << " shifted by " << shift);
        check(count, shift);
      }
    }
  }
  template <class Op>
  void run_flat(FlatParams p, bool aligned) {
    if (aligned) {
      run_grid(blocks_for(p.count), kElementThreads, [=] { flat_elements<Op, true>(p); });
    } else {
      run_grid(blocks_for(p.count), kElementThreads, [=] { flat_elements<Op, false>(p); });
    }
  }

  std::mt19937 random_{3};
};

void expect_bits(float got, float expected, int64_t i) {
  if (std::isnan(expected)) {
    ASSERT_TRUE(std::isnan(got)) << i;
  } else {
    ASSERT_EQ(got, expected) << i;
  }
}

TEST_F(Elementwise, ConversionsRoundToNearestEven) {
  each_count([&](int64_t count, int shift) {
    Memory<float> x(count, shift), back(count, shift);
    Memory<BFloat16> half(count, shift);
    Memory<Float16> half16(count, shift);
    fill(x);
    if (count > 3) x[0] = 1.00390625f, x[1] = 1.01171875f, x[2] = 3.4e38f;  // ties, overflow
    FlatParams p;
    p.a = x.data();
    p.out = half.data();
    p.count = count;
    run_flat<ConvertElements<F32, BF16>>(p, shift == 0);
    for (int64_t i = 0; i < count; ++i) expect_bits(as_float(half[i]), as_float(BFloat16(x[i])), i);
    p.a = half.data();
    p.out = back.data();
    run_flat<ConvertElements<BF16, F32>>(p, shift == 0);
    for (int64_t i = 0; i < count; ++i) expect_bits(back[i], as_float(half[i]), i);
    fill(half16);
    p.a = half16.data();
    run_flat<ConvertElements<F16, F32>>(p, shift == 0);
    for (int64_t i = 0; i < count; ++i) expect_bits(back[i], as_float(half16[i]), i);
    EXPECT_TRUE(half.guards_are_whole() && back.guards_are_whole());
  });
}

TEST_F(Elementwise, SiluAndSumsInPlace) {
  each_count([&](int64_t count, int shift) {
    Memory<float> x(count, shift), y(count, shift);
    Memory<BFloat16> half(count, shift);
    fill(x, 4.0f), fill(y), fill(half);
    if (count > 3) x[0] = -200.0f, x[1] = 200.0f;
    const std::vector<float> before(x.data(), x.data() + count);
    FlatParams p;
    p.a = p.out = x.data();
    p.count = count;
    run_flat<SiluElements>(p, shift == 0);
    for (int64_t i = 0; i < count; ++i) {
      const double v = before[static_cast<size_t>(i)];
      ASSERT_TRUE(is_near(x[i], v / (1.0 + std::exp(-v)), 8, 1e-30)) << i;
    }
    std::copy(before.begin(), before.end(), x.data());
    p.b = y.data();
    run_flat<AddElements<F32>>(p, shift == 0);
    for (int64_t i = 0; i < count; ++i) expect_bits(x[i], before[static_cast<size_t>(i)] + y[i], i);
    std::copy(before.begin(), before.end(), x.data());
    p.b = half.data();
    run_flat<AddElements<BF16>>(p, shift == 0);
    for (int64_t i = 0; i < count; ++i)
      expect_bits(x[i], before[static_cast<size_t>(i)] + as_float(half[i]), i);
    EXPECT_TRUE(x.guards_are_whole());
  });
}

// Velocities of four passes, aligned as `shift` says.
struct Velocities {
  Velocities(int64_t count, int shift) {
    for (int i = 0; i < kMaxPasses; ++i) values.emplace_back(count, shift);
  }
  PassesParams params(const std::vector<float>& weights) {
    PassesParams p;
    p.passes = static_cast<int32_t>(weights.size());
    p.count = values[0].count();
    for (size_t i = 0; i < weights.size(); ++i) {
      p.velocity[i] = values[i].data();
      p.weight[i] = weights[i];
    }
    return p;
  }
  float sum(const PassesParams& p, int64_t i) {
    float v = p.weight[0] * values[0][i];
    for (int pass = 1; pass < p.passes; ++pass)
      v += p.weight[pass] * values[static_cast<size_t>(pass)][i];
    return v;
  }
  std::vector<Memory<float>> values;
};

template <class Run>
void with_passes(int passes, Run&& run) {
  if (passes == 1) run(std::integral_constant<int, 1>{});
  if (passes == 2) run(std::integral_constant<int, 2>{});
  if (passes == 3) run(std::integral_constant<int, 3>{});
  if (passes == 4) run(std::integral_constant<int, 4>{});
}

void run_euler(const EulerStepParams& p, bool aligned) {
  with_passes(p.v.passes, [&](auto passes) {
    if (aligned) {
      run_grid(blocks_for(p.v.count), kElementThreads,
               [=] { euler_step_kernel<passes(), true>(p); });
    } else {
      run_grid(blocks_for(p.v.count), kElementThreads,
               [=] { euler_step_kernel<passes(), false>(p); });
    }
  });
}

TEST_F(Elementwise, EulerStepOverPasses) {
  each_count([&](int64_t count, int shift) {
    Memory<float> x(count, shift), factor(1);
    Velocities v(count, shift);
    fill(x);
    for (Memory<float>& values : v.values) fill(values);
    factor[0] = 0.75f;
    const std::vector<float> before(x.data(), x.data() + count);
    for (const std::vector<float>& weights :
         {std::vector<float>{1.0f}, {4.5f, -3.5f}, {0.5f, 0.25f, -2.0f}, {7, -3, -2, -1}}) {
      EulerStepParams p{.v = v.params(weights), .x = x.data(), .delta = -0.037f};
      for (const bool limited : {false, true}) {
        p.factor = limited ? factor.data() : nullptr;
        std::copy(before.begin(), before.end(), x.data());
        run_euler(p, shift == 0);
        for (int64_t i = 0; i < count; ++i) {
          const float sum = limited ? 0.75f * v.sum(p.v, i) : v.sum(p.v, i);
          expect_bits(x[i], before[static_cast<size_t>(i)] - p.delta * sum, i);
        }
      }
    }
    // What guidance has always given, and a plain step.
    EulerStepParams p{.v = v.params({4.5f, 1.0f - 4.5f}), .x = x.data(), .delta = -0.037f};
    std::copy(before.begin(), before.end(), x.data());
    run_euler(p, shift == 0);
    for (int64_t i = 0; i < count; ++i) {
      const float guided = 4.5f * v.values[0][i] + (1.0f - 4.5f) * v.values[1][i];
      expect_bits(x[i], before[static_cast<size_t>(i)] - p.delta * guided, i);
    }
    p.v = v.params({1.0f});
    std::copy(before.begin(), before.end(), x.data());
    run_euler(p, shift == 0);
    for (int64_t i = 0; i < count; ++i)
      expect_bits(x[i], before[static_cast<size_t>(i)] - p.delta * v.values[0][i], i);
    EXPECT_TRUE(x.guards_are_whole() && factor.guards_are_whole());
  });
}

// One word tells which operand held an Inf or a NaN, wherever it lay; nothing is written where all is well.
TEST_F(Elementwise, EulerStepTellsWhatIsNotFinite) {
  each_count([&](int64_t count, int shift) {
    Memory<float> x(count, shift);
    Velocities v(count, shift);
    Memory<uint32_t> word(1);
    EulerStepParams p{.v = {}, .x = x.data(), .delta = -0.5f, .not_finite = word.data()};
    const auto found = [&](float in_x, const std::vector<float>& in_v,
                           const std::vector<float>& weights) {
      for (int64_t i = 0; i < count; ++i) {
        x[i] = 0.25f;
        for (Memory<float>& values : v.values) values[i] = 0.25f;
      }
      const int64_t at = static_cast<int64_t>(random_() % static_cast<unsigned>(count));
      x[at] = in_x;
      for (size_t pass = 0; pass < in_v.size(); ++pass) v.values[pass][at] = in_v[pass];
      word[0] = 64;
      p.v = v.params(weights);
      run_euler(p, shift == 0);
      return word[0] - 64;
    };
    const float inf = std::numeric_limits<float>::infinity(), nan = std::nanf("");
    EXPECT_EQ(found(1, {1, 1}, {7, -6}), 0u);
    EXPECT_EQ(found(1, {-inf, 1}, {7, -6}), 1 | kLatentsNotFinite);
    EXPECT_EQ(found(1, {nan, 1}, {0, 1}), 1 | kLatentsNotFinite);
    EXPECT_EQ(found(1, {1, nan}, {7, -6}), 2 | kLatentsNotFinite);
    EXPECT_EQ(found(1, {1, inf}, {1, 0}), 2 | kLatentsNotFinite);
    EXPECT_EQ(found(1, {inf, inf}, {7, -6}), 3 | kLatentsNotFinite);
    EXPECT_EQ(found(1, {1, 1, inf, 1}, {7, -6, 1, 2}), 4 | kLatentsNotFinite);
    EXPECT_EQ(found(1, {1, 1, 1, inf}, {7, -6, 1, 2}), 8 | kLatentsNotFinite);
    EXPECT_EQ(found(1, {3e38f, 1}, {7, -6}), kLatentsNotFinite);
    EXPECT_EQ(found(nan, {1, 1}, {7, -6}), kLatentsNotFinite);
    EXPECT_EQ(found(1, {1, nan}, {1}), 0u);  // not read
    EXPECT_EQ(found(1, {inf, 1}, {1}), 1 | kLatentsNotFinite);
    p.not_finite = nullptr;
    EXPECT_EQ(found(1, {inf, 1}, {1}), 0u);
    EXPECT_TRUE(x.guards_are_whole() && word.guards_are_whole());
  });
}

// Nothing but elements of the array counts, whatever the weights make of zeros.
TEST_F(Elementwise, EulerStepLooksAtNothingPastTheEnd) {
  Memory<float> x(5);
  Velocities v(5, 0);
  Memory<uint32_t> word(1);
  for (int64_t i = 0; i < 5; ++i) x[i] = v.values[0][i] = 1.0f;
  word[0] = 0;
  run_euler({.v = v.params({1.0f}),
             .x = x.data(),
             .delta = std::numeric_limits<float>::infinity(),
             .not_finite = word.data()},
            true);
  EXPECT_EQ(word[0], kLatentsNotFinite);
  for (int64_t i = 0; i < 5; ++i) v.values[0][i] = 0.0f, x[i] = 1.0f;
  word[0] = 0;
  run_euler({.v = v.params({1.0f}), .x = x.data(), .delta = 1.0f, .not_finite = word.data()}, true);
  EXPECT_EQ(word[0], 0u);
}

TEST_F(Elementwise, LimitOnTheNormOfAVelocity) {
  const auto factor_of = [&](LimitVelocityNormParams p, bool aligned) {
    Memory<float> factor(1);
    p.factor = factor.data();
    with_passes(p.v.passes, [&](auto passes) {
      if (aligned) {
        run_grid(1, kLimitThreads, [=] { limit_velocity_norm_kernel<passes(), true>(p); });
      } else {
        run_grid(1, kLimitThreads, [=] { limit_velocity_norm_kernel<passes(), false>(p); });
      }
    });
    EXPECT_TRUE(factor.guards_are_whole());
    return factor[0];
  };
  for (const int64_t count : {1, 3, 4, 2047, 8196}) {
    for (const int shift : {0, 1}) {
      SCOPED_TRACE(testing::Message() << count << " shifted by " << shift);
      const bool aligned = shift == 0 && count % 4 == 0;
      Velocities v(count, shift);
      for (Memory<float>& values : v.values)
        for (int64_t i = 0; i < count; ++i) values[i] = normal_value(random_);
      for (const std::vector<float>& weights :
           {std::vector<float>{2.0f}, {4.5f, -3.5f}, {0.5f, 0.25f, -2.0f}, {7, -3, -2, -1}}) {
        const PassesParams passes = v.params(weights);
        for (int reference = 0; reference < passes.passes; ++reference) {
          double of_reference = 0.0, of_sum = 0.0;
          for (int64_t i = 0; i < count; ++i) {
            const double r = v.values[static_cast<size_t>(reference)][i], s = v.sum(passes, i);
            of_reference += r * r;
            of_sum += s * s;
          }
          const double ratio = std::sqrt(of_reference / of_sum);
          // Sums in another order of F64, one rounding to F32.
          const float found = factor_of({passes, reference, 0.5f, nullptr}, aligned);
          ASSERT_TRUE(is_near(found, std::min(1.0, 0.5 * ratio), 1, 0.0)) << found;
          EXPECT_EQ(
              factor_of({passes, reference, static_cast<float>(2.0 / ratio), nullptr}, aligned),
              1.0f);
          EXPECT_EQ(factor_of({passes, reference, 0.0f, nullptr}, aligned), 0.0f);
        }
      }
      const float nan = std::nanf(""), inf = std::numeric_limits<float>::infinity();
      for (const float bad : {nan, inf}) {
        v.values[1][count - 1] = bad;
        const float found = factor_of({v.params({4.5f, -3.5f}), 0, 1.0f, nullptr}, aligned);
        EXPECT_FALSE(found > 0.0f) << found;
      }
      for (Memory<float>& values : v.values)
        for (int64_t i = 0; i < count; ++i) values[i] = 0.0f;
      EXPECT_EQ(factor_of({v.params({4.5f, -3.5f}), 0, 0.5f, nullptr}, aligned), 1.0f);
    }
  }
}

TEST_F(Elementwise, TanhOfTheGates) {
  for (int width : {4, 12, 1030, 5000}) {
    const int steps = 3;
    Memory<float> m(int64_t{steps} * 4 * width);
    fill(m, 2.0f);
    const std::vector<float> before(m.data(), m.data() + m.count());
    const TanhRowsParams p{
        .x = m.data() + width, .rows = 2 * steps, .cols = width, .ld = 2 * width};
    if (width % 4 == 0) {
      run_grid(p.rows, 256, [=] { tanh_rows_kernel<true>(p); });
    } else {
      run_grid(p.rows, 64, [=] { tanh_rows_kernel<false>(p); });
    }
    for (int64_t i = 0; i < m.count(); ++i) {
      const float old = before[static_cast<size_t>(i)];
      if (i / width % 2 == 0) {
        expect_bits(m[i], old, i);
      } else {
        ASSERT_TRUE(is_near(m[i], std::tanh(double{old}), 8, 1e-30)) << i;
      }
    }
    EXPECT_TRUE(m.guards_are_whole());
  }
}

TEST_F(Elementwise, SwigluOfHalves) {
  const auto check = [&]<typename X, typename Out, class XType, class OutType>(
                         X, Out, XType, OutType, int cols, int shift) {
    const int rows = 3;
    Memory<X> x(int64_t{rows} * 2 * cols, shift);
    Memory<Out> out(int64_t{rows} * cols, shift);
    fill(x, 3.0f);
    const SwigluRowsParams p{.x = x.data(), .out = out.data(), .rows = rows, .cols = cols};
    if (cols % 4 == 0 && shift == 0) {
      run_grid(rows, 128, [=] { swiglu_rows_kernel<XType, OutType, true>(p); });
    } else {
      run_grid(rows, 128, [=] { swiglu_rows_kernel<XType, OutType, false>(p); });
    }
    for (int64_t i = 0; i < out.count(); ++i) {
      const int64_t row = i / cols, column = i % cols;
      const double gate = as_float(x[row * 2 * cols + column]);
      const double up = as_float(x[row * 2 * cols + cols + column]);
      ASSERT_TRUE(is_near(as_float(out[i]), gate / (1.0 + std::exp(-gate)) * up,
                          sizeof(Out) == 4 ? 8 : 33000, 1e-30))
          << i;
    }
    EXPECT_TRUE(out.guards_are_whole());
  };
  for (int cols : {1, 4, 30, 512, 516, 3000}) {
    for (int shift : {0, 2}) {
      check(BFloat16{}, BFloat16{}, BF16{}, BF16{}, cols, shift);
      check(BFloat16{}, float{}, BF16{}, F32{}, cols, shift);
      check(float{}, BFloat16{}, F32{}, BF16{}, cols, shift);
      check(float{}, float{}, F32{}, F32{}, cols, shift);
    }
  }
}

TEST_F(Elementwise, BiasesOfRows) {
  const auto check = [&]<typename T, class Type>(T, Type, int cols, int shift) {
    const int rows = 3;
    Memory<T> x(int64_t{rows} * cols, shift);
    Memory<float> bias(cols, shift);
    fill(x), fill(bias);
    std::vector<float> before;
    for (int64_t i = 0; i < x.count(); ++i) before.push_back(as_float(x[i]));
    const AddBiasRowsParams p{.x = x.data(), .bias = bias.data(), .rows = rows, .cols = cols};
    if (cols % 4 == 0 && shift == 0) {
      run_grid(rows, 128, [=] { add_bias_rows_kernel<Type, true>(p); });
    } else {
      run_grid(rows, 128, [=] { add_bias_rows_kernel<Type, false>(p); });
    }
    for (int64_t i = 0; i < x.count(); ++i)
      expect_bits(as_float(x[i]), as_float(T(before[static_cast<size_t>(i)] + bias[i % cols])), i);
    EXPECT_TRUE(x.guards_are_whole() && bias.guards_are_whole());
  };
  for (int cols : {1, 4, 30, 512, 516, 3000}) {
    for (int shift : {0, 2}) {
      check(BFloat16{}, BF16{}, cols, shift);
      check(float{}, F32{}, cols, shift);
    }
  }
}

TEST_F(Elementwise, EmbeddingRowsOfEveryType) {
  const auto check = [&]<typename T, class Type>(T, Type, int cols) {
    const int vocabulary = 7;
    const std::vector<int32_t> wanted = {6, 0, 3, 3, 7, -1};
    const auto rows = static_cast<int64_t>(wanted.size());
    Memory<T> table(int64_t{vocabulary} * cols);
    Memory<int32_t> ids(rows);
    Memory<float> out(rows * cols);
    fill(table);
    std::copy(wanted.begin(), wanted.end(), ids.data());
    const GatherRowsParams p{.ids = ids.data(),
                             .table = table.data(),
                             .out = out.data(),
                             .rows = rows,
                             .cols = cols,
                             .vocabulary = vocabulary};
    if (cols % 4 == 0) {
      run_grid(rows, 64, [=] { gather_rows_kernel<Type, true>(p); });
    } else {
      run_grid(rows, 64, [=] { gather_rows_kernel<Type, false>(p); });
    }
    for (int64_t i = 0; i < out.count(); ++i) {
      const int32_t id = wanted[static_cast<size_t>(i / cols)];
      expect_bits(
          out[i],
          id >= 0 && id < vocabulary ? as_float(table[id * cols + i % cols]) : std::nanf(""), i);
    }
    EXPECT_TRUE(out.guards_are_whole());
  };
  for (int cols : {1, 5, 8, 1024, 1030}) {
    check(float{}, F32{}, cols);
    check(BFloat16{}, BF16{}, cols);
    check(Float16{}, F16{}, cols);
  }
}

TEST_F(Elementwise, TapsInterleave) {
  for (int cols : {3, 8, 1028}) {
    const int rows = 4, taps = 3;
    Memory<float> h(int64_t{rows} * cols), features(int64_t{rows} * cols * taps);
    for (int tap : {2, 0}) {
      fill(h);
      const ScatterTapParams p{.h = h.data(),
                               .features = features.data(),
                               .rows = rows,
                               .cols = cols,
                               .taps = taps,
                               .tap = tap};
      if (cols % 4 == 0) {
        run_grid(rows, 64, [=] { scatter_tap_kernel<true>(p); });
      } else {
        run_grid(rows, 64, [=] { scatter_tap_kernel<false>(p); });
      }
      for (int64_t i = 0; i < h.count(); ++i) expect_bits(features[i * taps + tap], h[i], i);
    }
    // Tap 1 was never written.
    for (int64_t i = 0; i < h.count(); ++i)
      ASSERT_EQ(std::bit_cast<uint32_t>(features[i * taps + 1]), 0xa5a5a5a5u);
    EXPECT_TRUE(features.guards_are_whole());
  }
}

template <class Out>
void run_softmax(const SoftmaxRowsParams& p, bool streamed, bool aligned) {
  if (!aligned) {
    run_grid(p.rows, 96, [=] { streamed_softmax_rows<Out, false>(p); });
  } else if (streamed) {
    run_grid(p.rows, 96, [=] { streamed_softmax_rows<Out, true>(p); });
  } else if (p.cols <= HeldSoftmaxConfig<1>::kColumns) {
    run_grid(p.rows, HeldSoftmaxConfig<1>::kThreads, [=] { held_softmax_rows<Out, 1>(p); });
  } else if (p.cols <= HeldSoftmaxConfig<4>::kColumns) {
    run_grid(p.rows, HeldSoftmaxConfig<4>::kThreads, [=] { held_softmax_rows<Out, 4>(p); });
  } else {
    run_grid(p.rows, HeldSoftmaxConfig<8>::kThreads, [=] { held_softmax_rows<Out, 8>(p); });
  }
}

TEST_F(Elementwise, SoftmaxOfRows) {
  for (int cols : {1, 3, 4, 100, 1024, 1500, 4096, 4100, 16384}) {
    for (bool streamed : {false, true}) {
      SCOPED_TRACE(cols);
      const bool aligned = cols % 4 == 0;
      const int64_t rows = cols > 4096 ? 2 : 6, count = rows * cols;
      const float scale = 0.7f, infinity = std::numeric_limits<float>::infinity();
      Memory<float> scores(count), out(count);
      Memory<BFloat16> half(count);
      for (int64_t i = 0; i < count; ++i) {
        const int64_t row = i / cols, column = i % cols;
        scores[i] = 5.0f * normal_value(random_) + (row == 1 ? 1000.0f : 0.0f);
        if (row == 2 && column == cols - 1) scores[i] = std::nanf("");
        if (row == 3 && column == 0) scores[i] = infinity;
        if (row == 4 && column % 2 == 1) scores[i] = -infinity;
        if (row == 5) scores[i] = -infinity;
      }
      SoftmaxRowsParams p{
          .scores = scores.data(), .out = half.data(), .rows = rows, .cols = cols, .scale = scale};
      run_softmax<BF16>(p, streamed, aligned);
      p.out = out.data();
      run_softmax<F32>(p, streamed, aligned);
      for (int64_t row = 0; row < rows; ++row) {
        const float* const s = scores.data() + row * cols;
        const bool broken = row == 2 || row == 3 || row == 5;
        double most = -1e300, sum = 0.0;
        for (int64_t c = 0; c < cols; ++c) most = std::max(most, double{s[c]} * double{scale});
        for (int64_t c = 0; c < cols; ++c) sum += std::exp(double{s[c]} * double{scale} - most);
        for (int64_t c = 0; c < cols; ++c) {
          const double expected =
              broken ? std::nan("") : std::exp(double{s[c]} * double{scale} - most) / sum;
          // The scaled score is rounded: 2^-24 of a thousand is a relative error of exp.
          ASSERT_TRUE(is_near(out[row * cols + c], expected, row == 1 ? 2000 : 100, 1e-30))
              << row << ", " << c << ": " << out[row * cols + c] << " for " << expected;
          if (!broken) {
            ASSERT_EQ(half[row * cols + c].bits, BFloat16(out[row * cols + c]).bits)
                << row << ", " << c;
          }
        }
      }
      // In place gives the same.
      p.out = scores.data();
      run_softmax<F32>(p, streamed, aligned);
      ASSERT_EQ(std::memcmp(scores.data(), out.data(), static_cast<size_t>(count) * 4), 0);
      EXPECT_TRUE(out.guards_are_whole() && half.guards_are_whole() && scores.guards_are_whole());
    }
  }
}

TEST_F(Elementwise, PicturesAreTurnedAndBlended) {
  struct Placement {
    int height, width, tile_height, tile_width, first_row, first_column;
  };
  for (const Placement& at : {Placement{5, 8, 5, 8, 0, 0}, Placement{9, 24, 4, 12, 5, 8},
                              Placement{6, 7, 3, 5, 2, 1}, Placement{3, 1200, 2, 1100, 0, 60}}) {
    Memory<float> tile(int64_t{at.tile_height} * at.tile_width * 3);
    Memory<float> picture(int64_t{3} * at.height * at.width);
    Memory<float> row_share(at.tile_height), column_share(at.tile_width);
    fill(tile), fill(picture), fill(row_share), fill(column_share);
    for (bool blend : {true, false}) {
      const std::vector<float> before(picture.data(), picture.data() + picture.count());
      PlacePictureParams p{.tile = tile.data(),
                           .picture = picture.data(),
                           .height = at.height,
                           .width = at.width,
                           .tile_height = at.tile_height,
                           .tile_width = at.tile_width,
                           .first_row = at.first_row,
                           .first_column = at.first_column};
      if (blend) p.row_share = row_share.data(), p.column_share = column_share.data();
      const bool vector = at.tile_width % 4 == 0 && at.width % 4 == 0 && at.first_column % 4 == 0;
      run_grid(at.tile_height, 64, [=] {
        if (vector) {
          blend ? place_picture_kernel<true, true>(p) : place_picture_kernel<true, false>(p);
        } else {
          blend ? place_picture_kernel<false, true>(p) : place_picture_kernel<false, false>(p);
        }
      });
      for (int64_t i = 0; i < picture.count(); ++i) {
        const int64_t c = i / at.width / at.height;
        const int64_t y = i / at.width % at.height - at.first_row,
                      x = i % at.width - at.first_column;
        float expected = before[static_cast<size_t>(i)];
        if (y >= 0 && y < at.tile_height && x >= 0 && x < at.tile_width) {
          const float value = tile[(y * at.tile_width + x) * 3 + c];
          expected = blend ? expected + row_share[y] * column_share[x] * value : value;
        }
        expect_bits(picture[i], expected, i);
      }
    }
    EXPECT_TRUE(picture.guards_are_whole());
  }
}

}  // namespace
}  // namespace intaglio::cuda
