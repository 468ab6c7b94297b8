#include "models/presets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/ideogram4/model.h"
#include "models/model_info.h"

namespace intaglio {
namespace {

using ::testing::HasSubstr;

std::vector<float> runs(std::initializer_list<std::pair<float, size_t>> list) {
  std::vector<float> values;
  for (const auto& [value, count] : list) values.insert(values.end(), count, value);
  return values;
}

ModelInfo published() {
  ModelInfo info;
  info.name = "ideogram-4";
  info.schedule_is_normal = true;
  info.default_steps = 48;
  info.default_guidance = {.scale = 7.0f, .last_scale = 3.0f, .last_steps = 3};
  info.presets = ideogram4::published_presets().value();
  return info;
}

TEST(Guidance, IsReadInTheOrderOfSampling) {
  EXPECT_EQ(parse_guidance("g", "7").value(), runs({{7, 1}}));
  EXPECT_EQ(parse_guidance("g", "7,7,3").value(), runs({{7, 2}, {3, 1}}));
  EXPECT_EQ(parse_guidance("g", "7x45,3x3").value(), runs({{7, 45}, {3, 3}}));
  EXPECT_EQ(parse_guidance("g", "2.5x2,-1,1e1x1").value(), runs({{2.5f, 2}, {-1, 1}, {10, 1}}));
  EXPECT_EQ(parse_guidance("g", "1x1000")->size(), 1000u);
  for (const char* bad :
       {"", ",", "7,", "x", "7x", "x3", "7x0", "7x-1", "7x1.5", "7x3x3", "7 x 3", "nan", "inf",
        "1e39", "7*3", "0x1001", "7x9999,3x2", "7x99999999999999999999"})
    EXPECT_EQ(parse_guidance("--guidance", bad).error().message.find("--guidance: "), 0u) << bad;
}

TEST(Guidance, IsWrittenTheShortWay) {
  EXPECT_EQ(guidance_text(runs({{7, 45}, {3, 3}})), "7x45,3x3");
  EXPECT_EQ(guidance_text(runs({{7, 11}, {3, 1}})), "7x11,3");
  EXPECT_EQ(guidance_text(runs({{4.5f, 1}})), "4.5");
  for (const char* text : {"7x45,3x3", "1,2,1", "0.1x2"})
    EXPECT_EQ(guidance_text(parse_guidance("g", text).value()), text);
}

TEST(Presets, ArePublishedOnes) {
  const std::vector<Preset> presets = ideogram4::published_presets().value();
  ASSERT_EQ(presets.size(), 3u);
  EXPECT_EQ(presets[0].name, "QUALITY_48");
  EXPECT_EQ(presets[0].steps, 48);
  EXPECT_EQ(presets[0].mu, 0.0);
  EXPECT_EQ(presets[0].std, 1.5);
  EXPECT_EQ(presets[0].guidance, runs({{7, 45}, {3, 3}}));
  EXPECT_EQ(presets[1].name, "DEFAULT_20");
  EXPECT_EQ(presets[1].steps, 20);
  EXPECT_EQ(presets[1].mu, 0.0);
  EXPECT_EQ(presets[1].std, 1.75);
  EXPECT_EQ(presets[1].guidance, runs({{7, 18}, {3, 2}}));
  EXPECT_EQ(presets[2].name, "TURBO_12");
  EXPECT_EQ(presets[2].steps, 12);
  EXPECT_EQ(presets[2].mu, 0.5);
  EXPECT_EQ(presets[2].std, 1.75);
  EXPECT_EQ(presets[2].guidance, runs({{7, 11}, {3, 1}}));
}

TEST(Presets, OfAModelAreChecked) {
  const auto read = [](const char* text) {
    return read_presets(*JsonConfig::parse(text, "index"));
  };
  const auto own = read(
      R"({"FAST": {"steps": 4, "guidance": 2}, "SLOW": {"steps": 6, "mu": -1, "std": 2, "guidance": "3x5,1"}})");
  ASSERT_TRUE(own) << own.error().message;
  EXPECT_EQ((*own)[1].guidance, runs({{2, 4}}));
  EXPECT_EQ((*own)[0].guidance, runs({{3, 5}, {1, 1}}));
  EXPECT_EQ((*own)[0].mu, -1.0);
  for (const char* bad : {R"({"A": 5})", R"({"A": {"guidance": "7"}})", R"({"A": {"steps": 4}})",
                          R"({"A": {"steps": 4, "guidance": "7x3"}})",
                          R"({"A": {"steps": 4, "std": 0, "guidance": 7}})"})
    EXPECT_THAT(read(bad).error().message, HasSubstr("index: A")) << bad;
}

// One of a model that has no such thing would be passed over.
TEST(Presets, SayWhatTheModelHas) {
  const auto read = [](bool is_normal, const char* text) {
    ModelInfo info = published();
    info.schedule_is_normal = is_normal;
    return read_own_defaults(*JsonConfig::parse(text, "index"), info);
  };
  struct Case {
    const char *text, *key;
    bool is_normal;  // of the models that have it
  };
  for (const auto& [text, key, is_normal] : std::vector<Case>{
           {R"({"presets": {"A": {"steps": 4, "mu": 0, "guidance": 2}}})", "presets.A.mu", true},
           {R"({"presets": {"A": {"steps": 4, "std": 1.5, "guidance": 2}}})", "presets.A.std",
            true},
           {R"({"presets": {"A": {"steps": 4, "shift": 3, "guidance": 2}}})", "presets.A.shift",
            false},
           {R"({"intaglio": {"default_mu": 0.5}})", "intaglio.default_mu", true},
           {R"({"intaglio": {"default_std": 1.5}})", "intaglio.default_std", true}}) {
    EXPECT_TRUE(read(is_normal, text)) << text;
    const Status other = read(!is_normal, text);
    ASSERT_FALSE(other) << text;
    EXPECT_EQ(other.error().code, ErrorCode::kBadFormat);
    EXPECT_THAT(other.error().message, HasSubstr(std::string(key) + ": ideogram-4 has none; "));
  }
}

TEST(Schedule, DefaultsAreThePublishedQuality) {
  const Schedule schedule = choose_schedule(published(), {}).value();
  EXPECT_EQ(schedule.preset, "QUALITY_48");
  EXPECT_EQ(schedule.describe(), "48 steps, QUALITY_48: mu 0, std 1.5, guidance 7x45,3x3");
}

TEST(Schedule, AStepCountThatIsPublishedTakesItsPreset) {
  const Schedule turbo = choose_schedule(published(), {.steps = 12}).value();
  EXPECT_EQ(turbo.preset, "TURBO_12");
  EXPECT_EQ(turbo.mu, 0.5);
  EXPECT_EQ(turbo.std, 1.75);
  EXPECT_EQ(turbo.guidance, runs({{7, 11}, {3, 1}}));
  EXPECT_EQ(choose_schedule(published(), {.steps = 20})->preset, "DEFAULT_20");
  // Any other number, and any other word about the schedule, is not a preset.
  const Schedule ten = choose_schedule(published(), {.steps = 10}).value();
  EXPECT_EQ(ten.describe(), "10 steps: mu 0, std 1.5, guidance 7x7,3x3");
  EXPECT_EQ(choose_schedule(published(), {.steps = 12, .mu = 0.0})->std, 1.5);
  EXPECT_EQ(choose_schedule(published(), {.steps = 12, .guidance = runs({{5, 1}})})->describe(),
            "12 steps: mu 0, std 1.5, guidance 5x12");
}

TEST(Schedule, APresetIsNamedInLettersOfEitherCase) {
  EXPECT_EQ(choose_schedule(published(), {.preset = "turbo_12"})->steps, 12);
  EXPECT_EQ(choose_schedule(published(), {.preset = "Default_20", .steps = 20})->std, 1.75);
  const auto unknown = choose_schedule(published(), {.preset = "ULTRA"});
  EXPECT_EQ(unknown.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(unknown.error().message, HasSubstr("QUALITY_48, DEFAULT_20, TURBO_12"));
  const auto other_steps = choose_schedule(published(), {.preset = "TURBO_12", .steps = 13});
  EXPECT_EQ(other_steps.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(other_steps.error().message, HasSubstr("has 12"));
  // Parts of it may be replaced; then it is no longer what its name says.
  const Schedule replaced =
      choose_schedule(published(), {.preset = "TURBO_12", .mu = 0.25}).value();
  EXPECT_EQ(replaced.describe(), "12 steps: mu 0.25, std 1.75, guidance 7x11,3");
}

TEST(Schedule, AModelWithItsOwnDefaultsKeepsThem) {
  ModelInfo info = published();
  info.default_steps = 24;
  info.default_guidance = {.scale = 4.0f};
  info.presets_by_steps = false;
  EXPECT_EQ(choose_schedule(info, {})->describe(), "24 steps: mu 0, std 1.5, guidance 4x24");
  EXPECT_EQ(choose_schedule(info, {.steps = 12})->describe(),
            "12 steps: mu 0, std 1.5, guidance 4x12");
  EXPECT_EQ(choose_schedule(info, {.preset = "TURBO_12"})->preset, "TURBO_12");
}

TEST(Schedule, ADistilledModelHasGuidanceOne) {
  ModelInfo info = published();
  info.unguided_reason = "has no unconditional transformer";
  info.default_guidance = {};
  info.default_steps = 20;
  EXPECT_EQ(choose_schedule(info, {})->describe(), "20 steps: mu 0, std 1.5, guidance 1x20");
  EXPECT_EQ(choose_schedule(info, {.steps = 12})->describe(),
            "12 steps: mu 0, std 1.5, guidance 1x12");
  for (const ScheduleRequest& request :
       {ScheduleRequest{.preset = "TURBO_12"}, ScheduleRequest{.guidance = runs({{7, 1}})},
        ScheduleRequest{.steps = 2, .guidance = runs({{1, 1}, {1.5f, 1}})}}) {
    const auto refused = choose_schedule(info, request);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
    EXPECT_THAT(refused.error().message, HasSubstr("no unconditional transformer"));
  }
  EXPECT_EQ(choose_schedule(info, {.preset = "TURBO_12", .guidance = runs({{1, 1}})})->std, 1.75);
}

// A model whose scheduler alone says where noise levels lie.
TEST(Schedule, AModelWithoutMuAndStdRefusesThem) {
  ModelInfo info;
  info.name = "other";
  info.default_steps = 8;
  info.default_guidance = {};
  EXPECT_EQ(choose_schedule(info, {})->describe(), "8 steps: guidance 1x8");
  for (const ScheduleRequest& request : {ScheduleRequest{.mu = 0.5}, ScheduleRequest{.std = 1.0}}) {
    const auto refused = choose_schedule(info, request);
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().message, HasSubstr("other has none"));
  }
}

// It takes a shift in their place, from a flag or a preset; one with mu and std takes none.
TEST(Schedule, AShiftIsOfModelsWithoutMuAndStd) {
  ModelInfo info;
  info.name = "other";
  info.default_steps = 8;
  info.default_guidance = {};
  info.presets =
      read_presets(*JsonConfig::parse(R"({"FAST": {"steps": 4, "shift": 3, "guidance": 1}})", "p"))
          .value();
  info.presets_by_steps = false;
  EXPECT_EQ(choose_schedule(info, {.shift = 2.5})->describe(), "8 steps: shift 2.5, guidance 1x8");
  EXPECT_EQ(choose_schedule(info, {.preset = "fast"})->describe(),
            "4 steps, FAST: shift 3, guidance 1x4");
  EXPECT_EQ(describe_preset(info, info.presets[0]), "4 steps, FAST: shift 3, guidance 1x4");
  const Schedule other = choose_schedule(info, {.preset = "FAST", .shift = 2.0}).value();
  EXPECT_EQ(other.shift, 2.0);
  EXPECT_EQ(other.preset, "");
  EXPECT_EQ(choose_schedule(info, {.steps = 4})->shift, std::nullopt);
  EXPECT_EQ(choose_schedule(info, {.steps = 4, .shift = 3.0})->preset, "FAST");
  for (const double wrong : {0.0, -1.0, std::numeric_limits<double>::infinity()})
    EXPECT_THAT(choose_schedule(info, {.shift = wrong}).error().message, HasSubstr("shift"));
  EXPECT_THAT(choose_schedule(published(), {.shift = 3.0}).error().message,
              HasSubstr("shift: ideogram-4 has none"));
  EXPECT_FALSE(
      read_presets(*JsonConfig::parse(R"({"A": {"steps": 4, "shift": 0, "guidance": 1}})", "p")));
}

TEST(Guidance, OneValueOrOneAStep) {
  EXPECT_EQ(*guidance_schedule({4.0f}, 3), (std::vector<float>{4, 4, 4}));
  EXPECT_EQ(*guidance_schedule({1, 2, 3}, 3), (std::vector<float>{1, 2, 3}));
  const auto wrong = guidance_schedule({1, 2}, 3);
  ASSERT_FALSE(wrong);
  EXPECT_NE(wrong.error().message.find("2 values for 3 steps"), std::string::npos);
  EXPECT_FALSE(guidance_schedule({}, 3));
  EXPECT_FALSE(guidance_schedule({NAN}, 3));
  const DefaultGuidance guidance = published().default_guidance;
  EXPECT_EQ(guidance.of_steps(5), (std::vector<float>{7, 7, 3, 3, 3}));
  EXPECT_EQ(guidance.of_steps(2), (std::vector<float>{3, 3}));
}

TEST(Schedule, NumbersThatCannotBeAreRefused) {
  const double inf = std::numeric_limits<double>::infinity();
  for (const ScheduleRequest& request :
       {ScheduleRequest{.mu = inf}, ScheduleRequest{.std = 0.0}, ScheduleRequest{.std = -1.0},
        ScheduleRequest{.std = inf}, ScheduleRequest{.steps = 3, .guidance = runs({{7, 2}})}})
    EXPECT_EQ(choose_schedule(published(), request).error().code, ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace intaglio
