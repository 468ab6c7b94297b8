// Pictures whose passes are not all computed, against what their mask says in plain arithmetic.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/philox.h"
#include "core/relative_error.h"
#include "models/pass_runner.h"
#include "models/registry.h"
#include "pipeline/device.h"
#include "pipeline/pipeline.h"
#include "pipeline/step_mask_search.h"
#include "support/source_folder.h"

namespace intaglio {
namespace {

using testing::HasSubstr;

constexpr int64_t kSteps = 6;

class StepMaskPictures : public testing::Test {
 protected:
  void SetUp() override {
    model = open_model({.folder = test::source_path("tests/reference/data/tiny")}).value();
    pipeline =
        Pipeline::open(model, {.selection = {.precision = Precision::kFp32}, .threads = 1}).value();
    request.prompt = "cat";
    request.width = request.height = 32;
    request.steps = kSteps;
    request.guidance.assign(kSteps, 4.0f);
    request.seed = 5;
    request.decode = false;
  }
  static StepMask mask(const char* first, const char* second, int64_t order = 1) {
    return {.name = "test",
            .order = order,
            .passes = {parse_pass_work(first).value(), parse_pass_work(second).value()}};
  }
  std::vector<float> drawn(std::optional<StepMask> by) {
    request.mask = std::move(by);
    return pipeline->generate(request, {}, nullptr).value().latents;
  }
  // The same in plain arithmetic, each velocity computed by itself. No reused pass.
  std::vector<float> expected(const StepMask& by) {
    DeviceContext device = open_device(std::nullopt, 1).value();
    PassRunner runner(device.context, *model, {.selection = {.precision = Precision::kFp32}});
    const auto texts = runner.load({&request, 1}).value();
    const Sampling& sampling = texts.front().sampling;
    const std::vector<float> times = times_of(sampling);
    auto picture = runner.prepare(texts.front(), times).value();
    std::vector<float> x(static_cast<size_t>(texts.front().grid_h * texts.front().grid_w *
                                             model->info().latent_channels));
    fill_normal(request.seed, x.data(), static_cast<int64_t>(x.size()));
    // Of each pass: times and velocities, the newest first.
    std::vector<std::vector<std::pair<double, std::vector<float>>>> known(2);
    for (size_t s = 0; s < static_cast<size_t>(kSteps); ++s) {
      std::vector<double> sum(x.size(), 0.0);
      for (size_t pass = 0; pass < 2; ++pass) {
        if (by.passes[pass][s] == PassWork::kCompute) {
          EXPECT_TRUE(runner.forward(picture, pass, static_cast<int64_t>(s), x));
          known[pass].insert(known[pass].begin(), {times[s], picture.velocities[pass]});
        }
        const size_t points = std::min(known[pass].size(), static_cast<size_t>(by.order) + 1);
        for (size_t i = 0; i < points; ++i) {
          double weight = by.passes[pass][s] == PassWork::kCompute ? (i == 0 ? 1.0 : 0.0) : 1.0;
          for (size_t j = 0; j < points && by.passes[pass][s] != PassWork::kCompute; ++j)
            if (j != i)
              weight *=
                  (times[s] - known[pass][j].first) / (known[pass][i].first - known[pass][j].first);
          for (size_t v = 0; v < x.size(); ++v)
            sum[v] += weight * sampling.steps[s].weights[pass] * known[pass][i].second[v];
        }
      }
      for (size_t v = 0; v < x.size(); ++v)
        x[v] -= static_cast<float>(sampling.steps[s].delta * sum[v]);
    }
    return x;
  }

  std::shared_ptr<const Model> model;
  std::unique_ptr<Pipeline> pipeline;
  PictureRequest request;
  const std::vector<int64_t> blocks{3, 3};  // of the tiny model's transformers
};

TEST_F(StepMaskPictures, AMaskOfAllPassesChangesNothing) {
  const std::vector<float> whole = drawn(std::nullopt);
  EXPECT_EQ(drawn(mask("XXXXXX", "XXXXXX")), whole);
  // A mask before leaves nothing behind.
  drawn(mask("X.r.X.", "Xrr..."));
  EXPECT_EQ(drawn(std::nullopt), whole);
}

// F32 against sums in F64; what extrapolates far multiplies rounding.
TEST_F(StepMaskPictures, PredictedVelocitiesAreThoseOfThePolynomial) {
  for (const int64_t order : {0, 1, 2}) {
    SCOPED_TRACE(order);
    const StepMask by = mask("XXX.X.", "X.X..X", order);
    const std::vector<float> latents = drawn(by);
    EXPECT_LT(relative_error(latents, expected(by)), 2e-5);
    EXPECT_GT(relative_error(latents, drawn(std::nullopt)), 1e-3);
  }
}

TEST_F(StepMaskPictures, AHeldVelocityIsOfOrderZero) {
  EXPECT_EQ(drawn(mask("X.....", "X.....", 0)), drawn(mask("X.....", "X.....", 2)));
}

// Nothing changes between two steps of the same time and latents but what is reused.
TEST_F(StepMaskPictures, ReusedBlocksAddWhatTheyAddedBefore) {
  PicturePlan plan = pipeline->plan(request).value();
  for (SamplingStep& step : plan.sampling.steps) {
    step.time = 0.3f;
    step.delta = 0.0f;
  }
  plan.sampling.steps.back().delta = -0.5f;
  const auto latents = [&](std::optional<StepMask> by) {
    plan.sampling.mask = std::move(by);
    return pipeline->generate(plan, {}, nullptr).value().latents;
  };
  const std::vector<float> whole = latents(std::nullopt);
  StepMask reuses = mask("XXXXXr", "XXXrrr");
  EXPECT_LT(relative_error(latents(reuses), whole), 1e-6);
  // And other latents make other pictures.
  const std::vector<float> cached = drawn(reuses);
  request.mask.reset();
  EXPECT_GT(relative_error(cached, drawn(std::nullopt)), 1e-4);
}

TEST_F(StepMaskPictures, AMaskThatCannotBeIsRefused) {
  const auto told = [&](StepMask by) {
    request.mask = std::move(by);
    const auto plan = pipeline->plan(request);
    return plan ? std::string("planned") : plan.error().message;
  };
  EXPECT_THAT(told(mask("X....", "X....")), HasSubstr("5 steps of 2 passes"));
  EXPECT_THAT(told(mask("X.....", ".X....")), HasSubstr("pass 2 in its first step"));
  StepMask deep = mask("Xr....", "X.....");
  deep.first_blocks = 100;
  EXPECT_THAT(told(deep), HasSubstr("computes 100 blocks of a reused pass"));
  request.mask.reset();
  request.cache = "nearly all";
  EXPECT_THAT(pipeline->plan(request).error().message, HasSubstr("found \"nearly all\""));
}

TEST_F(StepMaskPictures, APlanCountsWhatAMaskKeeps) {
  request.mask.reset();
  const uint64_t without = pipeline->plan(request).value().memory.denoise_phase;
  request.mask = mask("X.....", "X.....", 2);
  const uint64_t predicts = pipeline->plan(request).value().memory.denoise_phase;
  request.mask = mask("Xr....", "X.....", 2);
  const uint64_t reuses = pipeline->plan(request).value().memory.denoise_phase;
  EXPECT_GT(predicts, without);
  EXPECT_GT(reuses, predicts);
}

TEST_F(StepMaskPictures, TheSearchStaysWithinItsBudgetAndBeatsTheRule) {
  MaskJudge judge(*pipeline, {request}, nullptr);
  ASSERT_TRUE(judge.begin());
  const MaskSearch search{.budget = 0.5, .evaluations = 60};
  const StepMask found = search_step_mask(judge, blocks, search).value().mask;
  EXPECT_LE(found.cost(judge.sampling(), blocks), 0.5);
  EXPECT_TRUE(check_step_mask(found, judge.sampling()));
  EXPECT_DOUBLE_EQ(judge.error(found).value(), found.error);
  EXPECT_LT(found.error, judge.error(spread_step_mask(judge.sampling(), 0.5)).value());
  // The same again.
  EXPECT_EQ(search_step_mask(judge, blocks, search).value().mask, found);
  // A judge draws what a plan of the mask itself draws.
  const std::vector<float> whole = drawn(std::nullopt);
  EXPECT_DOUBLE_EQ(relative_error(drawn(found), whole), found.error);
  EXPECT_THAT(judge.error(mask("X....", "X....")).error().message, HasSubstr("5 steps"));
  // One mask is found by one evaluation.
  EXPECT_EQ(search_step_mask(judge, blocks, {.evaluations = 1}).value().evaluations, 1);
  EXPECT_THAT(search_step_mask(judge, blocks, {.first_blocks = 3}).error().message,
              HasSubstr("the first 3 blocks of a reused pass: a pass has 3"));
  EXPECT_THAT(search_step_mask(judge, blocks, {.budget = 0.1}).error().message,
              HasSubstr("expected at least 4 of them"));
}

TEST_F(StepMaskPictures, BlocksAreThoseOfEachTransformer) {
  EXPECT_EQ(model->cached_blocks(), blocks);
  MaskJudge judge(*pipeline, {request}, nullptr);
  ASSERT_TRUE(judge.begin());
  const std::vector<int64_t> fewer{4, 2};
  EXPECT_THAT(search_step_mask(judge, fewer, {.first_blocks = 2}).error().message,
              HasSubstr("the first 2 blocks of a reused pass: a pass has 2"));
}

TEST_F(StepMaskPictures, ACancelledSearchGivesTheBestSoFar) {
  std::atomic<bool> cancel = false;
  MaskJudge judge(*pipeline, {request}, &cancel);
  ASSERT_TRUE(judge.begin());
  MaskSearch search{.budget = 0.5, .evaluations = 60};
  search.progress = [&](int64_t done, double) { cancel = done == 5; };
  const FoundMask found = search_step_mask(judge, blocks, search).value();
  EXPECT_TRUE(found.cancelled);
  EXPECT_EQ(found.evaluations, 5);
  cancel = false;
  EXPECT_DOUBLE_EQ(judge.error(found.mask).value(), found.mask.error);
  search.progress = [&](int64_t, double) { cancel = true; };
  EXPECT_EQ(search_step_mask(judge, blocks, search).error().code, ErrorCode::kCancelled);
}

}  // namespace
}  // namespace intaglio
