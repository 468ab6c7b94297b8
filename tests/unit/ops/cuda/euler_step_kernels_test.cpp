// The sampling step's kernels, run on the CPU (emulation/lanes.h) against plain loops: ragged ends,
// memory out of line, what is not finite, guards around every output.
#include "elementwise_emulation.h"
// Kernels after the emulation, which defines what they are written in.
#include "ops/cuda/kernels/euler_step.cuh"

namespace intaglio::cuda {
namespace {

class EulerStep : public EmulatedElements {};
class LimitVelocityNorm : public EmulatedElements {};
class MatchRowNorms : public EmulatedElements {};

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

TEST_F(EulerStep, AddsItsPassesInOrder) {
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

TEST_F(EulerStep, RowsHaveFactorsOfTheirOwn) {
  each_count([&](int64_t count, int shift) {
    Memory<float> x(count, shift), factor(count);
    Velocities v(count, shift);
    fill(x);
    fill(factor);
    for (Memory<float>& values : v.values) fill(values);
    const std::vector<float> before(x.data(), x.data() + count);
    for (const int64_t cols : {1, 3, 64}) {
      EulerStepParams p{.v = v.params({4.5f, -3.5f}),
                        .x = x.data(),
                        .delta = -0.037f,
                        .factor = factor.data(),
                        .not_finite = nullptr,
                        .factor_cols = cols};
      std::copy(before.begin(), before.end(), x.data());
      run_euler(p, shift == 0);
      for (int64_t i = 0; i < count; ++i)
        expect_bits(
            x[i], before[static_cast<size_t>(i)] - p.delta * (factor[i / cols] * v.sum(p.v, i)), i);
    }
    EXPECT_TRUE(x.guards_are_whole() && factor.guards_are_whole());
  });
}

// One word tells which operand held an Inf or a NaN, wherever it lay; nothing is written where all
// is well.
TEST_F(EulerStep, TellsWhatIsNotFinite) {
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
TEST_F(EulerStep, LooksAtNothingPastTheEnd) {
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

TEST_F(LimitVelocityNorm, IsTheRatioOfTheNorms) {
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

TEST_F(MatchRowNorms, IsTheRatioOfEachRow) {
  struct Size {
    int64_t rows, cols;
  };
  for (const Size& size : {Size{1, 1}, {7, 16}, {8, 31}, {9, 33}, {33, 64}}) {
    const int64_t rows = size.rows, cols = size.cols;
    for (const int shift : {0, 1}) {
      SCOPED_TRACE(testing::Message() << rows << " x " << cols << " shifted by " << shift);
      Velocities v(rows * cols, shift);
      for (Memory<float>& values : v.values)
        for (int64_t i = 0; i < rows * cols; ++i) values[i] = normal_value(random_);
      for (int64_t i = 0; i < cols; ++i)  // a row of a sum of nothing
        for (Memory<float>& values : v.values) values[i] = 0.0f;
      for (const std::vector<float>& weights :
           {std::vector<float>{2.0f}, {4.0f, -3.0f}, {0.5f, 0.25f, -2.0f}, {7, -3, -2, -1}}) {
        const PassesParams passes = v.params(weights);
        for (int reference = 0; reference < passes.passes; ++reference) {
          Memory<float> factor(rows);
          const MatchRowNormsParams p{passes, rows, cols, reference, factor.data()};
          with_passes(passes.passes, [&](auto count) {
            run_grid(static_cast<int>((rows + kMatchRows - 1) / kMatchRows), kMatchThreads,
                     [=] { match_row_norms_kernel<count()>(p); });
          });
          EXPECT_TRUE(factor.guards_are_whole());
          EXPECT_EQ(factor[0], 1.0f);
          for (int64_t row = 1; row < rows; ++row) {
            double of_reference = 0.0, of_sum = 0.0;
            for (int64_t i = row * cols; i < (row + 1) * cols; ++i) {
              const double r = v.values[static_cast<size_t>(reference)][i], s = v.sum(passes, i);
              of_reference += r * r;
              of_sum += s * s;
            }
            ASSERT_TRUE(is_near(factor[row], std::sqrt(of_reference / of_sum), 1, 0.0)) << row;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace intaglio::cuda
