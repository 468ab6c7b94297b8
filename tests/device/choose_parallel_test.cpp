// `--parallel auto` on made-up cards: plans alone, of full-size models.
#include "advice/choose_parallel.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "device/several_cards.h"
#include "models/registry.h"

namespace intaglio {
namespace {

using test::device;
using testing::AllOf;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

constexpr int kOther[] = {1};

PictureRequest request_of(const Model& model, int64_t side) {
  PictureRequest request;
  request.token_ids = std::vector<int32_t>(512, 7);
  request.width = request.height = side;
  request.steps = 8;
  request.guidance = model.info().default_guidance.of_steps(8);
  return request;
}

Expected<ChosenParallel> chosen(const char* name, int64_t side) {
  const std::shared_ptr<const Model> model = synthetic_model(name).value();
  return choose_parallel(model, test::options_on_first_card(Precision::kInt8), kOther,
                         request_of(*model, side));
}

// The made-up cards are slow, so that a link of any kind is fast beside them; rows are shared more
// evenly than passes, of which one reads no text.
TEST(ChooseParallel, TheFastestWayIsTaken) {
  device().restart();
  device().set_capacity(uint64_t{80} << 30);
  for (const bool peers : {true, false}) {
    device().set_peers(peers);
    const auto choice = chosen("ideogram4", 1024);
    ASSERT_TRUE(choice) << choice.error().message;
    EXPECT_THAT(choice->reason, StartsWith("ulysses on 2 ("));
    EXPECT_THAT(choice->options.rank_gpus, ElementsAre(1));
    EXPECT_EQ(choice->options.second_gpu, std::nullopt);
  }
  test::expect_nothing_left();
}

// Two cards of 14 GB: neither has room for both transformers.
TEST(ChooseParallel, WhatDoesNotFitIsPassedOver) {
  device().restart();
  device().set_capacity(uint64_t{14} << 30);
  const auto choice = chosen("ideogram4", 1024);
  ASSERT_TRUE(choice) << choice.error().message;
  EXPECT_EQ(choice->options.second_gpu, 1);
  EXPECT_TRUE(choice->options.rank_gpus.empty());
  EXPECT_THAT(choice->reason, AllOf(StartsWith("a pass each ("), HasSubstr("; ulysses on 2 "),
                                    EndsWith("what is faster does not fit")));
  device().set_capacity(uint64_t{2} << 30);
  const auto none = chosen("ideogram4", 1024);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, ErrorCode::kOutOfMemory);
  test::expect_nothing_left();
}

// On four cards each of two passes is shared by two of them, in the order in which they are named.
TEST(ChooseParallel, HalfOfTheCardsShareAPass) {
  device().restart();
  device().set_capacity(uint64_t{160} << 30);
  const std::shared_ptr<const Model> model = synthetic_model("z-image").value();
  const int others[] = {1, 0, 1};
  const auto choice = choose_parallel(model, test::options_on_first_card(Precision::kInt8), others,
                                      request_of(*model, 1024));
  ASSERT_TRUE(choice) << choice.error().message;
  EXPECT_THAT(choice->reason, StartsWith("cfg+ulysses on 4 ("));
  EXPECT_THAT(choice->options.rank_gpus, ElementsAre(1));
  EXPECT_EQ(choice->options.second_gpu, 0);
  EXPECT_THAT(choice->options.second_rank_gpus, ElementsAre(1));
}

// One pass a step: rows are shared, or the second card has nothing to do.
TEST(ChooseParallel, OnePassAStepIsNoPassEach) {
  device().restart();
  device().set_capacity(uint64_t{80} << 30);
  const auto choice = chosen("ideogram4-instant", 2048);
  ASSERT_TRUE(choice) << choice.error().message;
  EXPECT_EQ(choice->options.second_gpu, std::nullopt);
  EXPECT_EQ(choice->options.rank_gpus.empty(), choice->reason.starts_with("one GPU ("));
}

// So it is with models of one set of weights: guided, or of one pass a step.
TEST(ChooseParallel, ModelsOfOneSetOfWeights) {
  device().restart();
  device().set_capacity(uint64_t{80} << 30);
  const auto guided = chosen("z-image", 1024);
  ASSERT_TRUE(guided) << guided.error().message;
  EXPECT_THAT(guided->reason, StartsWith("a pass each ("));
  EXPECT_EQ(guided->options.second_gpu, 1);
  const auto unguided = chosen("flux2-klein-4b", 1024);
  ASSERT_TRUE(unguided) << unguided.error().message;
  EXPECT_THAT(unguided->reason, StartsWith("ulysses on 2 ("));
  EXPECT_EQ(unguided->options.rank_gpus, std::vector<int>{1});
}

}  // namespace
}  // namespace intaglio
