// The sampling step on the CPU: its arithmetic, and what it tells of numbers that are not finite.
#include "ops/elementwise.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace intaglio {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr int64_t kCount = 40000;  // several grains of a thread

struct Step {
  std::vector<float> x = std::vector<float>(kCount, 0.25f);
  std::vector<float> conditional = std::vector<float>(kCount, 0.5f);
  std::vector<float> unconditional = std::vector<float>(kCount, 0.125f);
  float guidance = 7.0f;
  bool guided = true;

  uint32_t run(int threads = 2) {
    Context context;
    context.threads = threads;
    uint32_t word = 64;  // bits are added
    EXPECT_TRUE(euler_step(context,
                           {.conditional = conditional.data(),
                            .unconditional = guided ? unconditional.data() : nullptr,
                            .guidance = guidance,
                            .delta = -0.5f,
                            .not_finite = &word},
                           x.data(), kCount));
    EXPECT_EQ(word & 64, 64u);
    return word & ~64u;
  }
};

TEST(EulerStep, MovesLatentsAlongTheGuidedVelocity) {
  Step step;
  EXPECT_EQ(step.run(), 0u);
  for (const float x : step.x) ASSERT_EQ(x, 0.25f + 0.5f * (7.0f * 0.5f - 6.0f * 0.125f));
  step.guided = false;
  EXPECT_EQ(step.run(), 0u);
  for (const float x : step.x) ASSERT_EQ(x, 0.25f + 0.5f * (7.0f * 0.5f - 6.0f * 0.125f) + 0.25f);
}

TEST(EulerStep, TellsWhichPartIsNotFinite) {
  for (const int64_t at : {int64_t{0}, int64_t{1}, kCount / 2, kCount - 1}) {
    const auto i = static_cast<size_t>(at);
    for (const float bad : {kInf, -kInf, std::nanf("")}) {
      Step conditional;
      conditional.conditional[i] = bad;
      EXPECT_EQ(conditional.run(), kConditionalNotFinite | kLatentsNotFinite);
      Step unconditional;
      unconditional.unconditional[i] = bad;
      EXPECT_EQ(unconditional.run(), kUnconditionalNotFinite | kLatentsNotFinite);
      unconditional.guided = false;  // not read
      unconditional.x.assign(kCount, 0.25f);
      EXPECT_EQ(unconditional.run(), 0u);
      Step latents;
      latents.x[i] = bad;
      EXPECT_EQ(latents.run(1), kLatentsNotFinite);
    }
  }
  Step both;
  both.conditional[3] = kInf;
  both.unconditional[kCount - 2] = kInf;
  EXPECT_EQ(both.run(), kConditionalNotFinite | kUnconditionalNotFinite | kLatentsNotFinite);
}

TEST(EulerStep, FiniteVelocitiesMayOverflow) {
  Step step;
  step.guidance = 3e38f;
  step.conditional[7] = 4.0f;
  EXPECT_EQ(step.run(), kLatentsNotFinite);
}

TEST(EulerStep, TheWordIsOptional) {
  Context context;
  std::vector<float> x(5, kInf), v(5, 1.0f);
  EXPECT_TRUE(euler_step(context, {.conditional = v.data(), .delta = 1.0f}, x.data(), 5));
}

}  // namespace
}  // namespace intaglio
