#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "eval/baseline.h"
#include "support/source_folder.h"

namespace intaglio::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr const char* kFull = "synthetic:ideogram4";  // presets of 48, 20 and 12 steps

EvalPlan plan() {
  return {.prompts = {{.prompt = "a fox", .seed = 1}}, .width = 64, .height = 64, .variants = {}};
}

// Text of the baseline; "": none.
std::string baseline(const std::string& source, const std::string& candidate,
                     const std::string& model) {
  const auto found = steps_baseline(plan(), parse_variant("--source", source, model).value(),
                                    parse_variant("--candidate", candidate, model).value(), model);
  if (!found) return found.error().message;
  return *found ? (*found)->text : "";
}

TEST(EvalBaseline, IsPlainStepsOfAsManyPasses) {
  const std::string tiny = test::source_path("tests/reference/data/tiny");
  EXPECT_EQ(baseline("fp32,steps=6", "bf16,steps=6,cache=0.5,name=half", tiny), "bf16,steps=3");
  EXPECT_EQ(baseline("fp32,steps=6", "steps=6,cache=0.5", tiny), "steps=3");
  // Plain: at full size. Of 6 steps two at half size, whose pass has 17 rows of 29: 5.2. At cache
  // 0.5 three steps are computed, of the first two at half size one.
  EXPECT_EQ(baseline("fp32,steps=6", "bf16,steps=6,progressive=2", tiny), "bf16,steps=5");
  EXPECT_EQ(baseline("fp32,steps=6", "bf16,steps=6,cache=0.5,progressive=2", tiny), "bf16,steps=3");
  // A guidance of 1 leaves out a pass: 9 of 12 are left.
  EXPECT_EQ(baseline("fp32,steps=6", "int8,steps=6,guidance=4x3;1x3", tiny), "int8,steps=5");
  // What the source's schedule says itself, at the same places.
  EXPECT_EQ(baseline("fp32,steps=6,guidance=4x4;3x2", "bf16,steps=6,cache=0.5", tiny),
            "bf16,mu=0,std=1.5,guidance=4x2;3,steps=3");
  // No fewer passes than the source's, and such steps themselves.
  EXPECT_EQ(baseline("fp32,steps=6", "int8,steps=6", tiny), "");
  EXPECT_EQ(baseline("fp32,steps=6", "bf16,steps=6,cache=off", tiny), "");
  EXPECT_EQ(baseline("fp32,steps=6", "bf16,steps=2", tiny), "");
  EXPECT_THAT(baseline("fp32,steps=6", "bf16,steps=6,cache=nothing", tiny),
              HasSubstr("found \"nothing\""));
}

TEST(EvalBaseline, APresetIsHeldAgainstTheSourcesSchedule) {
  const char* const twelve = "int8,mu=0,std=1.5,guidance=7x11;3,steps=12";
  EXPECT_EQ(baseline("fp32", "int8,preset=TURBO_12", kFull), twelve);
  EXPECT_EQ(baseline("fp32", "int8,preset=TURBO_12,cache=0.5", kFull),
            "int8,mu=0,std=1.5,guidance=7x6,steps=6");
  // This number alone takes that preset.
  EXPECT_EQ(baseline("fp32", "int8,steps=12", kFull), twelve);
  EXPECT_EQ(baseline("fp32,preset=TURBO_12", "int8,preset=TURBO_12", kFull), "");
  EXPECT_EQ(baseline("fp32", "int8", kFull), "");
}

TEST(EvalBaseline, OneIsDrawnForAllThatShareIt) {
  const std::string tiny = test::source_path("tests/reference/data/tiny");
  EvalPlan made = plan();
  std::vector<Variant> variants;
  for (const char* text : {"fp32,steps=6", "bf16,steps=6,cache=0.5,name=a", "bf16,steps=3,name=b",
                           "int8,steps=6,cache=0.5,name=c", "int8,cache=0.5,steps=6,name=d"})
    variants.push_back(parse_variant("--candidate", text, tiny).value());
  ASSERT_TRUE(add_baselines(tiny, made, variants));
  ASSERT_EQ(variants.size(), 6u);
  EXPECT_EQ(variants[5].text, "int8,steps=3");
  EXPECT_TRUE(variants[5].is_baseline);
  EXPECT_FALSE(variants[2].is_baseline);
  using Pair = std::pair<const std::string, std::string>;
  EXPECT_THAT(made.baselines,
              ElementsAre(Pair{"a", "b"}, Pair{"c", "int8-steps3"}, Pair{"d", "int8-steps3"}));
  // A name that is taken by another drawing.
  variants.resize(2);
  variants.push_back(parse_variant("--candidate", "int8,name=bf16-steps3", tiny).value());
  EXPECT_THAT(add_baselines(tiny, made, variants).error().message,
              HasSubstr("the name bf16-steps3 is that of the baseline of a"));
  variants.resize(1);
  made.baselines.clear();
  ASSERT_TRUE(add_baselines(tiny, made, variants));
  EXPECT_THAT(made.baselines, IsEmpty());
}

}  // namespace
}  // namespace intaglio::cli
