#include <gtest/gtest.h>

#include "core/relative_error.h"
#include "pipeline/pipeline.h"
#include "support/source_folder.h"

namespace intaglio {
namespace {

constexpr int64_t kSteps = 4;

class StepEstimatesTest : public testing::Test {
 protected:
  void SetUp() override {
    PipelineOptions options;
    options.threads = 1;
    pipeline = Pipeline::open(test::source_path("tests/reference/data/tiny"), options).value();
    PictureRequest request;
    request.prompt = "cat";
    request.width = request.height = 32;
    request.steps = kSteps;
    request.guidance.assign(kSteps, 4.0f);
    request.seed = 5;
    plan = pipeline->plan(request).value();
  }
  // By the number of steps done; the picture's own latents last.
  std::vector<std::vector<float>> estimates(std::vector<int64_t> after) {
    std::vector<std::vector<float>> taken;
    const auto picture = pipeline->generate(
        plan, {}, nullptr, {.after = std::move(after), .take = [&](const StepEstimate& estimate) {
                              EXPECT_EQ(estimate.steps, kSteps);
                              taken.emplace_back(estimate.latents.begin(), estimate.latents.end());
                            }});
    EXPECT_TRUE(picture.has_value()) << picture.error().message;
    taken.push_back(picture->latents);
    return taken;
  }

  std::unique_ptr<Pipeline> pipeline;
  PicturePlan plan;
};

// The noise that is left goes at once in the estimate, and in a picture whose next-to-last step is
// long enough to leave none: x - delta v, with v found from two values of x, which costs digits in
// the ratio of what is left to the step.
TEST_F(StepEstimatesTest, AreThePictureOfTheVelocityAtHand) {
  for (int64_t done = 1; done < kSteps; ++done) {
    SCOPED_TRACE(done);
    const std::vector<float> estimate = estimates({done}).front();
    const Sampling sampling = plan.sampling;
    SamplingStep& last = plan.sampling.steps[static_cast<size_t>(done - 1)];
    for (auto i = static_cast<size_t>(done); i < sampling.steps.size(); ++i) {
      last.delta += sampling.steps[i].delta;
      plan.sampling.steps[i].delta = 0.0f;
    }
    EXPECT_LT(relative_error(estimate, estimates({}).front()), 2e-6);
    plan.sampling = sampling;
  }
}

TEST_F(StepEstimatesTest, TheLastIsThePictureAndNoneChangesIt) {
  const auto taken = estimates({1, 3, kSteps});
  ASSERT_EQ(taken.size(), 4u);
  EXPECT_EQ(taken[2], taken[3]);
  EXPECT_EQ(taken[3], estimates({}).front());
}

}  // namespace
}  // namespace intaglio
