#include "models/progressive.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/choose_picture.h"
#include "models/ideogram4/schedule.h"
#include "models/model.h"
#include "models/parts/schedules.h"

namespace intaglio {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

TEST(Progressive, ALevelOfHalfTheSizeHasHalfTheOdds) {
  EXPECT_EQ(half_size_level(0.0), 0.0);
  EXPECT_EQ(half_size_level(1.0), 1.0);
  for (const double level : {0.01, 0.3, 0.5, 0.9, 0.999}) {
    const double half = half_size_level(level);
    EXPECT_NEAR(half / (1 - half), level / (1 - level) / 2, 1e-12 * level / (1 - level));
  }
}

// But where its clamp ends the schedule; float32's rounding of a level near 1.
TEST(Progressive, LevelsAreThoseOfIdeogramsScheduleForTheHalfSizePicture) {
  constexpr int64_t kSteps = 24;
  for (const double shift : {1.0, 3.0}) {
    const auto sigmas = [&](int64_t width, int64_t height) {
      return shifted_sigmas(ideogram4::schedule_sigmas(
                                {.width = width, .height = height, .steps = kSteps, .mu = 0.3}),
                            shift);
    };
    const std::vector<float> full = sigmas(1024, 1536), half = sigmas(512, 768);
    for (size_t i = 1; i < full.size(); ++i)
      EXPECT_NEAR(half_size_level(full[i]), half[i], 2e-7) << "step " << i << ", shift " << shift;
  }
}

PictureRequest picture(std::string progressive, int64_t steps = 24, int64_t width = 256,
                       int64_t height = 128) {
  PictureRequest request;
  request.width = width;
  request.height = height;
  request.steps = steps;
  request.progressive = std::move(progressive);
  return request;
}

TEST(Progressive, StepsOrAShareOfThemAreTaken) {
  const auto chosen = [](std::string text, int64_t steps = 24) {
    return choose_half_steps(picture(std::move(text), steps), 16).value();
  };
  for (const char* off : {"", "off", "0"}) EXPECT_EQ(chosen(off), 0);
  EXPECT_EQ(chosen("1"), 1);
  EXPECT_EQ(chosen("23"), 23);
  EXPECT_EQ(chosen("0.4"), 10);  // of 9.6
  EXPECT_EQ(chosen("0.01"), 1);
  EXPECT_EQ(chosen("0.99"), 23);
  EXPECT_EQ(chosen("0.5", 2), 1);
}

TEST(Progressive, WhatCannotBeIsRefused) {
  const auto told = [](const PictureRequest& request) {
    const auto steps = choose_half_steps(request, 16);
    return steps ? std::to_string(*steps) : steps.error().message;
  };
  EXPECT_EQ(told(picture("24")),
            "progressive: 24 steps at half size of a picture of 24; expected fewer, the last step "
            "runs at full size");
  EXPECT_THAT(told(picture("-1")), HasSubstr("progressive: -1 steps"));
  for (const char* text : {"half", "1.0", "0.0", "-0.5", "1.5", "nan", "4 ", "4x", "0.4,0.5"})
    EXPECT_THAT(told(picture(text)),
                StartsWith("progressive: expected off, a number of first steps or a share"));
  EXPECT_EQ(told(picture("0.5", 1)),
            "progressive: 0.5 of a picture of 1 step; expected 2 steps or more");
  EXPECT_EQ(told(picture("4", 24, 272, 240)),
            "progressive: half of 272x240 pixels is not a whole number of tokens; expected sides "
            "that are multiples of 32, such as 288x256");
  EXPECT_THAT(told(picture("4", 24, 256, 16)), HasSubstr("such as 256x32"));
  EXPECT_EQ(told(picture("off", 24, 272, 240)), "0");
}

TEST(Progressive, AChoiceIsRefusedUnderItsName) {
  ModelInfo model;
  model.pixels_per_token = 16;
  PictureChoices choices{.width = 272, .height = 256, .schedule = {.steps = 4}, .progressive = "2"};
  std::vector<WrongSetting> wrong;
  choose_picture(model, choices, wrong);
  ASSERT_EQ(wrong.size(), 1u);
  EXPECT_EQ(wrong.front().setting, "progressive");
  choices.width = 250;  // which no picture has: told once
  wrong.clear();
  choose_picture(model, choices, wrong);
  ASSERT_EQ(wrong.size(), 1u);
  EXPECT_EQ(wrong.front().setting, "size");
}

Sampling sampling_of(const std::vector<float>& sigmas) {
  Sampling sampling{.passes = {{.transformer = 0, .text = 0}, {.transformer = 1}}};
  for (size_t i = 0; i + 1 < sigmas.size(); ++i)
    sampling.steps.push_back({.time = 1.0f - sigmas[i],
                              .delta = sigmas[i + 1] - sigmas[i],
                              .weights = {4.0f, i < 2 ? 0.0f : -3.0f}});
  return sampling;
}

TEST(Progressive, TheFirstStepsAreThoseOfTheHalfSizePicture) {
  const std::vector<float> sigmas{0.99f, 0.8f, 0.5f, 0.2f, 0.0f};
  const Sampling whole = sampling_of(sigmas);
  Sampling sampling = whole;
  begin_at_half_size(0, sampling);
  EXPECT_EQ(sampling.half_steps, 0);
  EXPECT_EQ(sampling.steps[0].time, whole.steps[0].time);
  begin_at_half_size(2, sampling);
  EXPECT_EQ(sampling.half_steps, 2);
  for (size_t i = 0; i < 4; ++i) {
    SCOPED_TRACE(i);
    EXPECT_EQ(sampling.steps[i].weights, whole.steps[i].weights);
    const float from = i < 2 ? sigmas[i] / (2 - sigmas[i]) : sigmas[i];
    const float to = i < 2 ? sigmas[i + 1] / (2 - sigmas[i + 1]) : sigmas[i + 1];
    EXPECT_NEAR(sampling.steps[i].time, 1 - from, 2e-7);
    EXPECT_NEAR(sampling.steps[i].delta, to - from, 2e-7);
  }
}

// Krea 2's time is the level itself, and its velocity points the other way.
TEST(Progressive, OfATimeThatIsTheNoiseToo) {
  Sampling sampling{.passes = {{}}, .time_is_noise = true};
  for (const float level : {1.0f, 0.8f, 0.5f})
    sampling.steps.push_back({.time = level, .delta = 0.25f, .weights = {1.0f}});
  begin_at_half_size(2, sampling);
  EXPECT_FLOAT_EQ(sampling.steps[0].time, 1.0f);
  EXPECT_FLOAT_EQ(sampling.steps[0].delta, 1.0f - 0.8f / 1.2f);
  EXPECT_FLOAT_EQ(sampling.steps[1].time, 0.8f / 1.2f);
  EXPECT_FLOAT_EQ(sampling.steps[1].delta, 0.8f / 1.2f - 0.5f / 1.5f);
  EXPECT_EQ(sampling.steps[2].delta, 0.25f);
}

TEST(Progressive, AMaskComputesAPassInItsFirstStepAtFullSize) {
  const auto passes = [](int64_t half_steps) {
    Sampling sampling = sampling_of({1.0f, 0.8f, 0.6f, 0.4f, 0.2f, 0.0f});
    sampling.mask =
        StepMask{.passes = {parse_pass_work("X.r.X").value(), parse_pass_work("X.X..").value()}};
    begin_at_half_size(half_steps, sampling);
    return pass_work_texts(*sampling.mask);
  };
  EXPECT_THAT(passes(0), ElementsAre("X.r.X", "X.X.."));
  // The second pass has no weight in the first two steps.
  EXPECT_THAT(passes(1), ElementsAre("XXr.X", "X.X.."));
  EXPECT_THAT(passes(2), ElementsAre("X.X.X", "X.X.."));
  EXPECT_THAT(passes(3), ElementsAre("X.rXX", "X.XX."));
  EXPECT_THAT(passes(4), ElementsAre("X.r.X", "X.X.X"));
}

}  // namespace
}  // namespace intaglio
