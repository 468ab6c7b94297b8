// The sampling step and the limit on its velocity, every implementation at every level: their
// arithmetic, and what they tell of numbers that are not finite.
#include "ops/euler_step.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "ops/each_implementation.h"
#include "ops/euler_step_implementations.h"

namespace intaglio {
namespace {

using test::each_implementation;
using test::Operands;

constexpr float kInf = std::numeric_limits<float>::infinity();
// Below, at and above a block and a grain of a thread.
constexpr int64_t kCounts[] = {1, 3, 1023, 1024, 1025, 16384, 40001};

std::vector<float> random_values(int64_t count, unsigned seed, float size = 1.0f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, size);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(random);
  return values;
}

struct Size {
  int64_t rows, cols;
};

struct Velocities {
  explicit Velocities(int64_t count) {
    for (unsigned i = 0; i < kMaxPasses; ++i) values.push_back(random_values(count, i + 1));
  }
  std::span<const WeightedVelocity> passes(std::vector<float> weights) {
    list.clear();
    for (size_t i = 0; i < weights.size(); ++i) list.push_back({values[i].data(), weights[i]});
    return list;
  }
  std::vector<std::vector<float>> values;
  std::vector<WeightedVelocity> list;
};

// The passes with their velocities where the op finds them.
std::vector<WeightedVelocity> passes_in(Operands& on, std::span<const WeightedVelocity> passes,
                                        int64_t count) {
  std::vector<WeightedVelocity> there(passes.begin(), passes.end());
  for (WeightedVelocity& pass : there)
    pass.velocity = on.in(pass.velocity, static_cast<size_t>(count));
  return there;
}

// Ops that every implementation takes, to find those of a device by: nothing of them is read.
alignas(64) float some_value = 0.0f;
const WeightedVelocity kSomePass[] = {{&some_value, 1.0f}};
const EulerStep kSomeStep{.x = &some_value, .count = 1, .passes = kSomePass};
const LimitVelocityNorm kSomeLimit{.passes = kSomePass, .count = 1, .factor = &some_value};
const MatchRowNorms kSomeMatch{
    .passes = kSomePass, .rows = 1, .cols = 1, .reference = 0, .factor = &some_value};

// What guidance and plain steps have always given, bit for bit.
TEST(EulerStep, OneAndTwoPassesAreThePlainAndTheGuidedStep) {
  for (const int64_t count : kCounts) {
    Velocities v(count);
    const std::vector<float>&a = v.values[0], &b = v.values[1];
    const std::vector<float> before = random_values(count, 9);
    const float g = 7.3f, delta = -0.037f;
    each_implementation(
        euler_step_implementations(), kSomeStep, [&](const auto& step, const Context& context) {
          if (step.run == ref::euler_step) return;  // in F64
          std::vector<float> x = before;
          const auto run = [&](std::vector<float> weights) {
            Operands on(context);
            const auto passes = passes_in(on, v.passes(std::move(weights)), count);
            ASSERT_TRUE(step.run(context, {.x = on.out(x.data(), x.size()),
                                           .count = count,
                                           .passes = passes,
                                           .delta = delta}));
            on.fetch();
          };
          run({g, 1.0f - g});
          for (size_t i = 0; i < x.size(); ++i)
            ASSERT_EQ(x[i], before[i] - delta * (g * a[i] + (1.0f - g) * b[i])) << i;
          x = before;
          run({1.0f});
          for (size_t i = 0; i < x.size(); ++i) ASSERT_EQ(x[i], before[i] - delta * a[i]) << i;
        });
  }
}

TEST(EulerStep, AnyPassesAndAFactorMatchTheReference) {
  const std::vector<float> weights{7.3f, -4.1f, 0.0f, -2.2f};
  for (const int64_t count : kCounts) {
    Velocities v(count);
    const std::vector<float> before = random_values(count, 9);
    const float factor = 0.37f, delta = -0.37f;
    for (size_t passes = 1; passes <= weights.size(); ++passes) {
      const auto span = v.passes({weights.begin(), weights.begin() + static_cast<int64_t>(passes)});
      for (const float* by : {static_cast<const float*>(nullptr), &factor}) {
        std::vector<float> expected = before;
        ASSERT_TRUE(ref::euler_step(
            {},
            {.x = expected.data(), .count = count, .passes = span, .delta = delta, .factor = by}));
        each_implementation(
            euler_step_implementations(), kSomeStep, [&](const auto& step, const Context& context) {
              std::vector<float> x = before;
              Operands on(context);
              const auto there = passes_in(on, span, count);
              ASSERT_TRUE(step.run(context, {.x = on.out(x.data(), x.size()),
                                             .count = count,
                                             .passes = there,
                                             .delta = delta,
                                             .factor = on.in(by, 1)}));
              on.fetch();
              for (size_t i = 0; i < x.size(); ++i) {
                // Half a unit for each of 2 * passes + 3 roundings, of numbers no larger than this.
                double size = std::abs(static_cast<double>(before[i]));
                for (const WeightedVelocity& pass : span)
                  size += std::abs(static_cast<double>(delta) * pass.weight * pass.velocity[i]);
                ASSERT_NEAR(x[i], expected[i], size * 0x1p-24 * (2.0 * passes + 3.0)) << i;
              }
            });
      }
    }
  }
}

// As the same step of each row alone.
TEST(EulerStep, RowsHaveFactorsOfTheirOwn) {
  for (const Size& size : {Size{1, 1}, {5, 3}, {700, 64}}) {
    const int64_t rows = size.rows, cols = size.cols, count = rows * cols;
    Velocities v(count);
    const std::vector<float> before = random_values(count, 9), factors = random_values(rows, 10);
    const float delta = -0.37f;
    each_implementation(
        euler_step_implementations(), kSomeStep, [&](const auto& step, const Context& context) {
          const auto run = [&](const EulerStep& of, const float* factor, int64_t of_rows) {
            std::vector<float> x(before.begin(), before.begin() + of.count);
            Operands on(context);
            const auto passes = passes_in(on, of.passes, of.count);
            EulerStep there = of;
            there.x = on.out(x.data(), x.size());
            there.passes = passes;
            there.factor = on.in(factor, static_cast<size_t>(of_rows));
            EXPECT_TRUE(step.run(context, there));
            on.fetch();
            return x;
          };
          const auto passes = v.passes({7.3f, -4.1f});
          const std::vector<float> found =
              run({.count = count, .passes = passes, .delta = delta, .factor_cols = cols},
                  factors.data(), rows);
          for (int64_t row = 0; row < rows; ++row) {
            const auto own = run({.count = count, .passes = passes, .delta = delta},
                                 &factors[static_cast<size_t>(row)], 1);
            for (int64_t i = row * cols; i < (row + 1) * cols; ++i)
              ASSERT_EQ(found[static_cast<size_t>(i)], own[static_cast<size_t>(i)]) << i;
            row += rows / 7;  // not each of many
          }
        });
  }
}

TEST(EulerStep, TellsWhichPassIsNotFinite) {
  constexpr int64_t kCount = 40000;
  Velocities v(kCount);
  const std::vector<float> weights{4.0f, -2.0f, 0.0f, -1.0f};
  each_implementation(
      euler_step_implementations(), kSomeStep, [&](const auto& step, const Context& context) {
        const auto found = [&](std::vector<float> x, const std::vector<float>& w) {
          uint32_t word = 1u << 30;  // bits are added
          Operands on(context);
          const auto passes = passes_in(on, v.passes(w), kCount);
          EXPECT_TRUE(step.run(context, {.x = on.in(x.data(), x.size()),
                                         .count = kCount,
                                         .passes = passes,
                                         .delta = -0.5f,
                                         .not_finite = on.out(&word, 1)}));
          on.fetch();
          EXPECT_EQ(word >> 30 & 1, 1u);
          return word & ~(1u << 30);
        };
        const std::vector<float> fine = random_values(kCount, 9);
        EXPECT_EQ(found(fine, weights), 0u);
        for (const int64_t at : {int64_t{0}, int64_t{1}, kCount / 2, kCount - 1}) {
          const auto i = static_cast<size_t>(at);
          for (const float bad : {kInf, -kInf, std::nanf("")}) {
            for (int pass = 0; pass < kMaxPasses; ++pass) {
              float& value = v.values[static_cast<size_t>(pass)][i];
              const float kept = std::exchange(value, bad);
              EXPECT_EQ(found(fine, weights), pass_not_finite(pass) | kLatentsNotFinite);
              // What is not a pass of the step is not read.
              EXPECT_EQ(found(fine, {1.0f}),
                        pass == 0 ? pass_not_finite(0) | kLatentsNotFinite : 0u);
              value = kept;
            }
            std::vector<float> latents = fine;
            latents[i] = bad;
            EXPECT_EQ(found(latents, weights), kLatentsNotFinite);
          }
        }
        const float first = std::exchange(v.values[0][3], kInf);
        const float last = std::exchange(v.values[3][kCount - 2], kInf);
        EXPECT_EQ(found(fine, weights),
                  pass_not_finite(0) | pass_not_finite(3) | kLatentsNotFinite);
        v.values[0][3] = first, v.values[3][kCount - 2] = last;
        // Finite velocities may overflow.
        EXPECT_EQ(found(std::vector<float>(kCount, 3e38f), {3e38f}), kLatentsNotFinite);
      });
}

TEST(EulerStep, TheWordIsOptional) {
  std::vector<float> x(5, kInf), v(5, 1.0f);
  const WeightedVelocity pass{v.data()};
  each_implementation(
      euler_step_implementations(), kSomeStep, [&](const auto& step, const Context& context) {
        Operands on(context);
        const auto passes = passes_in(on, {&pass, 1}, 5);
        EXPECT_TRUE(step.run(context, {.x = on.in(x.data(), 5), .count = 5, .passes = passes}));
        on.fetch();
      });
}

TEST(LimitVelocityNorm, MatchesTheReference) {
  for (const int64_t count : kCounts) {
    Velocities v(count);
    for (const std::vector<float>& weights : {std::vector<float>{1.0f},
                                              {7.0f, -6.0f},
                                              {0.5f, 0.25f, 0.125f},
                                              {7.0f, -3.0f, -2.0f, -1.0f}}) {
      const auto passes = v.passes(weights);
      for (int reference = 0; reference < static_cast<int>(weights.size()); ++reference) {
        for (const float limit : {0.0f, 0.3f, 1.0f, 3.0f, 100.0f}) {
          float expected = -1.0f;
          ASSERT_TRUE(ref::limit_velocity_norm({}, {.passes = passes,
                                                    .count = count,
                                                    .reference = reference,
                                                    .limit = limit,
                                                    .factor = &expected}));
          each_implementation(limit_velocity_norm_implementations(), kSomeLimit,
                              [&](const auto& op, const Context& context) {
                                float factor = -1.0f;
                                Operands on(context);
                                const auto there = passes_in(on, passes, count);
                                ASSERT_TRUE(op.run(context, {.passes = there,
                                                             .count = count,
                                                             .reference = reference,
                                                             .limit = limit,
                                                             .factor = on.out(&factor, 1)}));
                                on.fetch();
                                // Roundings of the sum of four, of which terms may cancel (one
                                // value alone has nothing to be averaged with), and the last one.
                                ASSERT_NEAR(factor, expected, expected * (count > 3 ? 2e-7 : 1e-5));
                              });
        }
      }
    }
  }
}

// Lengths known without arithmetic: |v_0| = 5, |v| = 10.
TEST(LimitVelocityNorm, IsTheRatioOfTheNorms) {
  const float a[] = {3.0f, 0.0f, 4.0f}, b[] = {0.0f, 10.0f, 0.0f};
  const WeightedVelocity passes[] = {{a, 0.0f}, {b, 1.0f}};
  const auto factor = [&](const auto& op, const Context& context, int reference, float limit) {
    float found = -1.0f;
    Operands on(context);
    const auto there = passes_in(on, passes, 3);
    EXPECT_TRUE(op.run(context, {.passes = there,
                                 .count = 3,
                                 .reference = reference,
                                 .limit = limit,
                                 .factor = on.out(&found, 1)}));
    on.fetch();
    return found;
  };
  each_implementation(limit_velocity_norm_implementations(), kSomeLimit,
                      [&](const auto& op, const Context& context) {
                        EXPECT_EQ(factor(op, context, 0, 1.0f), 0.5f);
                        EXPECT_EQ(factor(op, context, 0, 1.5f), 0.75f);
                        EXPECT_EQ(factor(op, context, 0, 2.0f), 1.0f);
                        EXPECT_EQ(factor(op, context, 0, 3.0f), 1.0f);
                        EXPECT_EQ(factor(op, context, 0, 0.0f), 0.0f);
                        EXPECT_EQ(factor(op, context, 1, 1.0f), 1.0f);
                      });
}

TEST(LimitVelocityNorm, NothingToLimitGivesOneAndWhatIsNotFiniteDoesNot) {
  std::vector<float> zeros(2000, 0.0f), ones(2000, 1.0f), bad(2000, 1.0f);
  each_implementation(
      limit_velocity_norm_implementations(), kSomeLimit,
      [&](const auto& op, const Context& context) {
        float factor = -1.0f;
        const auto run = [&](std::span<const WeightedVelocity> passes) {
          Operands on(context);
          const auto there = passes_in(on, passes, 2000);
          EXPECT_TRUE(
              op.run(context, {.passes = there, .count = 2000, .factor = on.out(&factor, 1)}));
          on.fetch();
          return factor;
        };
        EXPECT_EQ(run({{{zeros.data()}, {zeros.data(), 3.0f}}}), 1.0f);
        EXPECT_EQ(run({{{ones.data(), 1.0f}, {ones.data(), -1.0f}}}), 1.0f);
        EXPECT_EQ(run({{{zeros.data()}, {ones.data()}}}), 0.0f);
        for (const float value : {kInf, -kInf, std::nanf("")}) {
          bad[1999] = value;
          EXPECT_FALSE(run({{{bad.data()}, {ones.data()}}}) > 0.0f);
          EXPECT_FALSE(run({{{ones.data()}, {bad.data()}}}) > 0.0f);
          EXPECT_FALSE(run({{{ones.data()}, {bad.data(), 0.0f}}}) > 0.0f);
        }
      });
  float factor = -1.0f;
  const WeightedVelocity none;
  EXPECT_TRUE(limit_velocity_norm({}, {.passes = {&none, 1}, .factor = &factor}));
  EXPECT_EQ(factor, 1.0f);
}

TEST(MatchRowNorms, MatchesTheReference) {
  for (const Size& size : {Size{1, 1}, {3, 5}, {9, 31}, {17, 64}, {700, 64}, {2, 2000}}) {
    const int64_t rows = size.rows, cols = size.cols;
    Velocities v(rows * cols);
    for (const std::vector<float>& weights :
         {std::vector<float>{2.0f}, {4.0f, -3.0f}, {7.0f, -3.0f, -2.0f, -1.0f}}) {
      const auto passes = v.passes(weights);
      for (int reference = 0; reference < static_cast<int>(weights.size()); ++reference) {
        std::vector<float> expected(static_cast<size_t>(rows));
        ASSERT_TRUE(ref::match_row_norms({}, {.passes = passes,
                                              .rows = rows,
                                              .cols = cols,
                                              .reference = reference,
                                              .factor = expected.data()}));
        each_implementation(
            match_row_norms_implementations(), kSomeMatch,
            [&](const auto& op, const Context& context) {
              std::vector<float> factor(expected.size(), -1.0f);
              Operands on(context);
              const auto there = passes_in(on, passes, rows * cols);
              ASSERT_TRUE(op.run(context, {.passes = there,
                                           .rows = rows,
                                           .cols = cols,
                                           .reference = reference,
                                           .factor = on.out(factor.data(), factor.size())}));
              on.fetch();
              // Roundings of a sum of passes whose terms may cancel: few values average nothing.
              for (size_t i = 0; i < factor.size(); ++i)
                ASSERT_NEAR(factor[i], expected[i], expected[i] * (cols > 5 ? 3e-6 : 1e-4)) << i;
            });
      }
    }
  }
}

// Lengths known without arithmetic: of the rows of the first pass 5 and 2, of the sum 10 and 0.
TEST(MatchRowNorms, IsTheRatioOfEachRow) {
  const float a[] = {3.0f, 0.0f, 4.0f, 0.0f, 2.0f, 0.0f};
  const float b[] = {0.0f, 10.0f, 0.0f, 0.0f, 0.0f, 0.0f};
  const WeightedVelocity passes[] = {{a, 0.0f}, {b, 1.0f}};
  each_implementation(match_row_norms_implementations(), kSomeMatch,
                      [&](const auto& op, const Context& context) {
                        const auto factors = [&](std::span<const WeightedVelocity> of) {
                          std::vector<float> factor(2, -1.0f);
                          Operands on(context);
                          const auto there = passes_in(on, of, 6);
                          EXPECT_TRUE(op.run(context, {.passes = there,
                                                       .rows = 2,
                                                       .cols = 3,
                                                       .reference = 0,
                                                       .factor = on.out(factor.data(), 2)}));
                          on.fetch();
                          return factor;
                        };
                        EXPECT_EQ(factors(passes), (std::vector<float>{0.5f, 1.0f}));
                        const float bad[] = {0.0f, 0.0f, 0.0f, kInf, 0.0f, 1.0f};
                        const std::vector<float> found = factors({{{a, 1.0f}, {bad, 1.0f}}});
                        EXPECT_EQ(found[0], 1.0f);
                        EXPECT_FALSE(found[1] > 0.0f);
                      });
}

std::string problem(const Status& status) { return status ? "" : status.error().message; }

TEST(EulerStep, RefusesWhatItCannotRead) {
  float x = 0.0f, v = 1.0f;
  const std::vector<WeightedVelocity> passes(5, {&v});
  const auto first = [&](size_t count) { return std::span(passes).first(count); };
  EXPECT_EQ(problem(euler_step({}, {.x = &x, .count = 1, .passes = {}})),
            "euler_step: 0 passes; expected 1 to 4");
  EXPECT_EQ(problem(euler_step({}, {.x = &x, .count = 1, .passes = passes})),
            "euler_step: 5 passes; expected 1 to 4");
  EXPECT_EQ(problem(euler_step({}, {.x = &x, .count = -1, .passes = first(1)})),
            "euler_step: -1 values; expected 0 or more");
  EXPECT_EQ(problem(euler_step({}, {.count = 1, .passes = first(1)})), "euler_step: x is null");
  const WeightedVelocity half[] = {{&v}, {}};
  EXPECT_EQ(problem(euler_step({}, {.x = &x, .count = 1, .passes = half})),
            "euler_step: the velocity of pass 1 is null");
  EXPECT_EQ(problem(euler_step({}, {.count = 0, .passes = half})), "");
  const auto limited = [&](int reference, float limit, float* factor) {
    return problem(limit_velocity_norm({}, {.passes = first(2),
                                            .count = 1,
                                            .reference = reference,
                                            .limit = limit,
                                            .factor = factor}));
  };
  EXPECT_EQ(limited(0, 1.0f, &x), "");
  EXPECT_EQ(limited(2, 1.0f, &x), "limit_velocity_norm: reference pass 2 of 2 passes");
  EXPECT_EQ(limited(-1, 1.0f, &x), "limit_velocity_norm: reference pass -1 of 2 passes");
  EXPECT_EQ(limited(0, -1.0f, &x), "limit_velocity_norm: limit -1; expected 0 or more");
  EXPECT_EQ(limited(0, std::nanf(""), &x), "limit_velocity_norm: limit nan; expected 0 or more");
  EXPECT_EQ(limited(0, 1.0f, nullptr), "limit_velocity_norm: factor is null");
  EXPECT_EQ(problem(euler_step(
                {}, {.x = &x, .count = 1, .passes = first(1), .delta = 1.0f, .factor_cols = -1})),
            "euler_step: factor_cols -1; expected 0 or more");
  const auto matched = [&](int64_t rows, int64_t cols, int reference, float* factor) {
    return problem(match_row_norms({}, {.passes = first(2),
                                        .rows = rows,
                                        .cols = cols,
                                        .reference = reference,
                                        .factor = factor}));
  };
  EXPECT_EQ(matched(1, 1, 0, &x), "");
  EXPECT_EQ(matched(0, 1, 0, nullptr), "");
  EXPECT_EQ(matched(1, 0, 0, &x),
            "match_row_norms: 1 rows of 0 values; expected 0 or more of 1 or more");
  EXPECT_EQ(matched(1, 1, 2, &x), "match_row_norms: reference pass 2 of 2 passes");
  EXPECT_EQ(matched(1, 1, 0, nullptr), "match_row_norms: factor is null");
}

}  // namespace
}  // namespace intaglio
