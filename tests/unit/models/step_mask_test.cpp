#include "models/step_mask.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/model.h"

namespace intaglio {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;

// Two passes, the second of which has no weight in the first `unguided` steps.
Sampling sampling(size_t steps, size_t unguided = 0) {
  Sampling made{.passes = {{.transformer = 0, .text = 0}, {.transformer = 1}}};
  for (size_t i = 0; i < steps; ++i)
    made.steps.push_back({.time = 0.1f * static_cast<float>(i),
                          .delta = -0.1f,
                          .weights = {1.0f, i < unguided ? 0.0f : 0.5f}});
  return made;
}

StepMask mask(std::string name, const char* first, const char* second) {
  return {.name = std::move(name),
          .passes = {parse_pass_work(first).value(), parse_pass_work(second).value()}};
}

TEST(StepMask, TextsAreReadAndWritten) {
  EXPECT_EQ(parse_pass_work("Xr.").value(),
            (std::vector<PassWork>{PassWork::kCompute, PassWork::kReuse, PassWork::kPredict}));
  EXPECT_EQ(pass_work_text(parse_pass_work("X.rX").value()), "X.rX");
  EXPECT_THAT(parse_pass_work("X?").error().message, HasSubstr("found \"X?\""));
}

TEST(StepMask, ACostCountsPassesThatHaveAWeight) {
  const StepMask m = mask("m", "X.r.", "XXXr");
  const std::vector<int64_t> blocks{4, 2};  // of the transformers
  EXPECT_DOUBLE_EQ(m.cost(sampling(4), blocks), (1 + 0.25 + 3 + 0.5) / 8);
  EXPECT_DOUBLE_EQ(m.cost(sampling(4, 2), blocks), (1 + 0.25 + 1 + 0.5) / 6);
}

TEST(StepMask, PassesAreCountedEachByItself) {
  Sampling of = sampling(4, 1);
  const std::vector<int64_t> blocks{4, 2};
  EXPECT_THAT(computed_passes(of, blocks), ElementsAre(4.0, 3.0));
  EXPECT_EQ(computed_share(of, blocks), 1.0);
  of.mask = mask("m", "X.rr", ".Xr.");
  const std::vector<PassCounts> counts = pass_counts(of, &*of.mask);
  EXPECT_EQ(counts[0].computed, 1);
  EXPECT_EQ(counts[0].reused, 2);
  EXPECT_EQ(counts[0].predicted, 1);
  // A step without a weight is none of its.
  EXPECT_EQ(counts[1].all(), 3);
  EXPECT_EQ(counts[1].predicted, 1);
  EXPECT_THAT(computed_passes(of, blocks), ElementsAre(1.5, 1.5));
  EXPECT_DOUBLE_EQ(computed_share(of, blocks), 3.0 / 7.0);
  // Never more than the pass has.
  of.mask->first_blocks = 3;
  EXPECT_THAT(computed_passes(of, blocks), ElementsAre(2.5, 2.0));
}

TEST(StepMask, EveryPassIsComputedFirst) {
  EXPECT_TRUE(check_step_mask(mask("m", "X...", "X..."), sampling(4)));
  EXPECT_TRUE(check_step_mask(mask("m", "X...", ".rX."), sampling(4, 2)));
  EXPECT_THAT(check_step_mask(mask("m", "X...", ".X.."), sampling(4)).error().message,
              HasSubstr("does not compute pass 2 in its first step, 1"));
  EXPECT_THAT(check_step_mask(mask("m", "X...", "r..."), sampling(4, 0)).error().message,
              HasSubstr("pass 2"));
  EXPECT_THAT(check_step_mask(mask("m", "X..", "X.."), sampling(4)).error().message,
              HasSubstr("3 steps of 2 passes, the picture has 4 of 2"));
}

TEST(StepMask, ASpreadOneKeepsToItsBudget) {
  const auto texts = [](const Sampling& of, double budget, double dense) {
    const StepMask spread = spread_step_mask(of, budget, 1, dense);
    EXPECT_TRUE(check_step_mask(spread, of));
    return pass_work_texts(spread);
  };
  EXPECT_THAT(texts(sampling(9, 1), 0.5, 0.0), ElementsAre("X.X..X..X", ".X.X.X..X"));
  EXPECT_THAT(texts(sampling(12), 0.5, 0.5), Each("XXX..X..X..X"));
  EXPECT_THAT(texts(sampling(12), 0.34, 0.5), Each("XX....X....X"));
  // Never less than the ends.
  EXPECT_THAT(texts(sampling(5), 0.01, 0.0), Each("X...X"));
  EXPECT_THAT(texts(sampling(5), 0.01, 0.5), Each("X...X"));
  EXPECT_THAT(texts(sampling(1), 0.5, 0.5), Each("X"));
  EXPECT_THAT(texts(sampling(2), 0.9, 1.0), Each("XX"));
}

TEST(StepMask, IsChosenByNameOrBudget) {
  const std::vector<StepMask> masks{mask("third", "X...", "X.X."), mask("half", "XX..", "X.X."),
                                    mask("half", "XX.", "X.X"), mask("most", "XXX.", "XXXX")};
  const auto chosen = [&](std::string_view cache, size_t steps = 4) {
    return choose_step_mask(masks, sampling(steps), std::vector<int64_t>{8, 8}, cache);
  };
  EXPECT_FALSE(chosen("off").value());
  EXPECT_FALSE(chosen("").value());
  EXPECT_EQ(*chosen("half").value(), masks[1]);
  EXPECT_EQ(*chosen("half", 3).value(), masks[2]);
  EXPECT_EQ(*chosen("0.5").value(), masks[1]);
  EXPECT_EQ(*chosen("0.55").value(), masks[1]);
  EXPECT_EQ(*chosen("0.45").value(), masks[0]);
  // None of the model's comes near.
  EXPECT_EQ(chosen("0.7").value()->name, "spread-0.7");
  EXPECT_EQ(chosen("0.5", 6).value()->name, "spread-0.5");
  for (const char* wrong : {"0", "1", "1.5", "-0.5", "0.5x", "nan", "quarter", "most "})
    EXPECT_THAT(chosen(wrong).error().message, HasSubstr("the model has third (4 steps), half"))
        << wrong;
}

TEST(StepMask, FilesAreReadAsWritten) {
  std::vector<StepMask> masks{mask("a", "XX..", "X.rX"), mask("b", "X", "X")};
  masks[0].order = 2;
  masks[0].first_blocks = 3;
  masks[0].preset = "TURBO";
  masks[0].error = 0.25;
  const auto file = JsonConfig::parse(step_masks_text(masks), "masks.json").value();
  EXPECT_EQ(read_step_masks(file).value(), masks);
}

TEST(StepMask, BadFilesSayWhatIsWrong) {
  const auto told = [](const std::string& mask) {
    const auto file = JsonConfig::parse("{\"masks\": [" + mask + "]}", "m.json").value();
    const auto read = read_step_masks(file);
    return read ? std::string("read") : read.error().message;
  };
  EXPECT_EQ(told(R"({"name": "a", "passes": ["X."]})"), "read");
  EXPECT_THAT(told(R"({"passes": ["X."]})"), HasSubstr("name: expected a mask's name"));
  EXPECT_THAT(told(R"({"name": "a"})"), HasSubstr("passes: expected 1 to 4 strings"));
  EXPECT_THAT(told(R"({"name": "a", "passes": [1]})"), HasSubstr("expected strings"));
  EXPECT_THAT(told(R"({"name": "a", "passes": [""]})"), HasSubstr("one letter a step"));
  EXPECT_THAT(told(R"({"name": "a", "passes": ["X.", "X"]})"), HasSubstr("one letter a step"));
  EXPECT_THAT(told(R"({"name": "a", "passes": ["xx"]})"), HasSubstr("found \"xx\""));
  EXPECT_THAT(told(R"({"name": "a", "passes": ["X"], "order": 3})"), HasSubstr("order"));
  EXPECT_THAT(told(R"({"name": "a", "passes": ["X"], "first_blocks": 0})"),
              HasSubstr("first_blocks"));
  EXPECT_THAT(told("1"), HasSubstr("masks[0]"));
  const auto no_list = JsonConfig::parse("{}", "m.json").value();
  EXPECT_THAT(read_step_masks(no_list).error().message, HasSubstr("masks: expected a list"));
}

}  // namespace
}  // namespace intaglio
