// Pictures whose first steps run at half size, against the two pictures that they are made of.
#include "models/progressive.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/philox.h"
#include "core/relative_error.h"
#include "pipeline/half_band.h"
#include "pipeline/pipeline.h"
#include "support/source_folder.h"

namespace intaglio {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr int64_t kSteps = 6, kHalfSteps = 3;

class ProgressivePictures : public testing::Test {
 protected:
  void SetUp() override {
    pipeline = Pipeline::open(test::source_path("tests/reference/data/tiny"),
                              {.selection = {.precision = Precision::kFp32}, .threads = 1})
                   .value();
    request.prompt = "cat";
    request.width = 64;
    request.height = 32;
    request.steps = kSteps;
    request.guidance.assign(kSteps, 4.0f);
    request.seed = 5;
    request.decode = false;
  }
  std::vector<float> drawn(const PicturePlan& plan) {
    return pipeline->generate(plan, {}, nullptr).value().latents;
  }
  std::vector<float> drawn(std::string progressive) {
    request.progressive = std::move(progressive);
    return drawn(pipeline->plan(request).value());
  }
  HalfBand band() const {
    return {request.height / 16, request.width / 16, pipeline->info().latent_channels,
            autoencoder::LatentPacking::kChannelFastest, 1};
  }
  std::vector<float> noise() const {
    std::vector<float> n(static_cast<size_t>(request.width / 16 * request.height / 16 *
                                             pipeline->info().latent_channels));
    fill_normal(request.seed, n.data(), static_cast<int64_t>(n.size()));
    return n;
  }
  // The steps [first, end) of a progressive plan as a picture of its own, of the size that they run
  // at.
  PicturePlan part(const PicturePlan& whole, int64_t first, int64_t end,
                   std::vector<float> from) const {
    PictureRequest r = request;
    r.progressive.clear();
    const int64_t divisor = first < whole.sampling.half_steps ? 2 : 1;
    r.width /= divisor;
    r.height /= divisor;
    r.steps = end - first;
    r.guidance.resize(static_cast<size_t>(r.steps));
    r.noise = std::move(from);
    r.mask.reset();
    PicturePlan plan = pipeline->plan(r).value();
    const auto& steps = whole.sampling.steps;
    plan.sampling.steps.assign(steps.begin() + first, steps.begin() + end);
    if (whole.sampling.mask) {
      plan.sampling.mask = whole.sampling.mask;
      for (std::vector<PassWork>& pass : plan.sampling.mask->passes)
        pass = {pass.begin() + first, pass.begin() + end};
    }
    return plan;
  }
  // The latents that `plan`, of kHalfSteps, comes to.
  std::vector<float> expected(const PicturePlan& plan) {
    const std::vector<float> half = drawn(part(plan, 0, kHalfSteps, band().low(noise())));
    std::vector<float> full =
        band().full_size(half, noise(), 1.0 - plan.sampling.steps[kHalfSteps].time);
    return drawn(part(plan, kHalfSteps, kSteps, std::move(full)));
  }

  std::unique_ptr<Pipeline> pipeline;
  PictureRequest request;
};

TEST_F(ProgressivePictures, NoStepsAtHalfSizeChangeNothing) {
  const std::vector<float> whole = drawn("");
  EXPECT_EQ(drawn("0"), whole);
  const std::vector<float> progressive = drawn("3");
  EXPECT_GT(relative_error(progressive, whole), 1e-3);
  EXPECT_EQ(drawn("0.5"), progressive);
  // One before leaves nothing behind.
  EXPECT_EQ(drawn("off"), whole);
  EXPECT_EQ(drawn("3"), progressive);
}

TEST_F(ProgressivePictures, AreAHalfSizePictureThatAFullSizeOneGoesOnWith) {
  request.progressive = "3";
  const PicturePlan plan = pipeline->plan(request).value();
  EXPECT_EQ(plan.sampling.half_steps, kHalfSteps);
  EXPECT_EQ(drawn(plan), expected(plan));
}

TEST_F(ProgressivePictures, MasksBeginAnewAtFullSize) {
  request.progressive = "3";
  request.mask =
      StepMask{.name = "test",
               .order = 1,
               .passes = {parse_pass_work("XXr.rX").value(), parse_pass_work("X.X.r.").value()}};
  const PicturePlan plan = pipeline->plan(request).value();
  EXPECT_THAT(pass_work_texts(*plan.sampling.mask), ElementsAre("XXrXrX", "X.XXr."));
  EXPECT_EQ(drawn(plan), expected(plan));
}

TEST_F(ProgressivePictures, EstimatesAreFullSize) {
  request.progressive = "3";
  const PicturePlan plan = pipeline->plan(request).value();
  std::vector<std::vector<float>> taken;
  const StepEstimates estimates{.after = {2, 3, 5}, .take = [&](const StepEstimate& estimate) {
                                  taken.emplace_back(estimate.latents.begin(),
                                                     estimate.latents.end());
                                }};
  const auto picture = pipeline->generate(plan, {}, nullptr, estimates);
  ASSERT_TRUE(picture) << picture.error().message;
  ASSERT_EQ(taken.size(), 3u);
  for (const int64_t done : {2, 3}) {
    SCOPED_TRACE(done);
    // The half-size picture whose last step leaves no noise, every value of it at four places.
    PicturePlan half = part(plan, 0, done, band().low(noise()));
    SamplingStep& last = half.sampling.steps.back();
    last.delta = last.time - 1.0f;
    std::vector<float> shown = band().raised(drawn(half));
    for (float& v : shown) v *= 2.0f;
    // The velocity is found from two states, which costs digits in what is left to the step.
    EXPECT_LT(relative_error(taken[static_cast<size_t>(done - 2)], shown), 5e-6);
  }
  EXPECT_EQ(taken[2].size(), picture->latents.size());
}

TEST_F(ProgressivePictures, APlanCountsBothSizes) {
  const auto planned = [&](const char* progressive) {
    request.progressive = progressive;
    return pipeline->plan(request).value().memory.denoise_phase;
  };
  const uint64_t off = planned("off");
  EXPECT_EQ(planned("0"), off);
  EXPECT_GT(planned("1"), off);
  EXPECT_GT(planned("5"), planned("1"));
}

TEST_F(ProgressivePictures, WhatCannotBeIsRefused) {
  request.progressive = "6";
  EXPECT_THAT(pipeline->plan(request).error().message, HasSubstr("progressive: 6 steps"));
  request.progressive = "2";
  request.width = 48;
  const auto plan = pipeline->plan(request);
  EXPECT_EQ(plan.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(plan.error().message, HasSubstr("multiples of 32, such as 64x32"));
}

}  // namespace
}  // namespace intaglio
