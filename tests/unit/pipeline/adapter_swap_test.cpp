// A pipeline takes other adapters between pictures.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/sanitizers.h"
#include "models/registry.h"
#include "support/adapter_swaps.h"
#include "support/source_folder.h"

namespace intaglio {
namespace {

using test::AdapterSwaps;

AdapterSwaps tiny(Precision precision) {
  const auto model = open_model({.folder = test::source_path("tests/reference/data/tiny")}).value();
  PictureRequest request;
  request.prompt = "a lighthouse at dusk";
  request.height = request.width = 64;
  request.steps = 2;
  request.guidance = {4.0f, 4.0f};
  return {model, {.selection = {.precision = precision}, .threads = 2}, request};
}

TEST(AdapterSwap, PicturesAreThoseOfAFreshPipeline) {
  for (const Precision precision : {Precision::kInt8, Precision::kFp32}) {
    if (kSanitized && precision != Precision::kInt8) break;  // ten times as slow there
    SCOPED_TRACE(precision_name(precision));
    AdapterSwaps swaps = tiny(precision);
    const AdapterUse a = swaps.low_rank("a", {.rank = 4});
    const AdapterUse b = swaps.low_rank("b", {.rank = 20, .seed = 7, .biases = true}, 0.7f);
    const AdapterUse c = swaps.low_rank("c", {.rank = 16, .seed = 9});
    const AdapterUse some = swaps.low_rank("some", {.rank = 3, .only = "feed_forward.w2"}, -1.0f);
    const AdapterUse merged = swaps.difference("merged", 0.05f);
    AdapterUse weaker = merged;
    weaker.strength = 0.5f;
    swaps.expect_each({{},
                       {a},
                       {b},
                       {a, b},
                       {some},
                       {},
                       {merged},
                       {merged, a},  // its weights stay
                       {merged, c},
                       {weaker, c},  // and go
                       {a}});
  }
}

// A bias of zero would go unseen.
TEST(AdapterSwap, ABiasChangesThePicture) {
  AdapterSwaps swaps = tiny(Precision::kFp32);
  const AdapterUse biased = swaps.low_rank("biased", {.rank = 4, .biases = true});
  const AdapterUse plain = swaps.low_rank("plain", {.rank = 4});
  EXPECT_NE(swaps.fresh({biased}), swaps.fresh({plain}));
}

TEST(AdapterSwap, APictureThatWasPlannedBeforeIsDrawnWithTheNewOnes) {
  AdapterSwaps swaps = tiny(Precision::kInt8);
  const AdapterUse a = swaps.low_rank("a", {.rank = 32});
  const auto pipeline = swaps.open({});
  const auto plan = pipeline->plan(swaps.request());
  ASSERT_TRUE(plan);
  swaps.latents(*pipeline);
  ASSERT_TRUE(pipeline->set_adapters({a}));
  const auto drawn = pipeline->generate(*plan, {}, nullptr);
  ASSERT_TRUE(drawn) << drawn.error().message;
  EXPECT_EQ(drawn->latents, swaps.fresh({a}));
  const auto planned = pipeline->plan(swaps.request());
  ASSERT_TRUE(planned);
  EXPECT_EQ(planned->peak_bytes(), swaps.open({a})->plan(swaps.request())->peak_bytes());
  EXPECT_GT(planned->peak_bytes(), plan->peak_bytes());
}

TEST(AdapterSwap, OnesThatDoNotFitChangeNothing) {
  AdapterSwaps swaps = tiny(Precision::kInt8);
  const AdapterUse a = swaps.low_rank("a", {.rank = 4});
  const auto pipeline = swaps.open({a});
  const std::vector<float> expected = swaps.latents(*pipeline);
  TempFolder folder;
  const auto other = folder / "other.safetensors";
  ASSERT_TRUE(write_synthetic_adapter(**synthetic_model("mini"), {.rank = 2}, other));
  const Status refused = pipeline->set_adapters({a, {AdapterFile::open(other).value()}});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kShapeMismatch);
  EXPECT_THAT(refused.error().message, testing::HasSubstr("other.safetensors"));
  EXPECT_EQ(swaps.latents(*pipeline), expected);
}

// A file that was written anew is another adapter, under the same name.
TEST(AdapterSwap, AFileThatWasWrittenAnewIsReadAnew) {
  AdapterSwaps swaps = tiny(Precision::kInt8);
  const auto pipeline = swaps.open({swaps.difference("d", 0.05f)});
  const std::vector<float> before = swaps.latents(*pipeline);
  const AdapterUse after = swaps.difference("d", 0.09f);
  ASSERT_TRUE(pipeline->set_adapters({after}));
  const std::vector<float> drawn = swaps.latents(*pipeline);
  EXPECT_NE(drawn, before);
  EXPECT_EQ(drawn, swaps.fresh({after}));
}

}  // namespace
}  // namespace intaglio
