// Passes whose rows are split over made-up cards: the bits of one card, whoever waits for whom;
// each card takes what is planned for it; what fails on one leaves nothing on any.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <string>

#include "core/memory.h"
#include "core/sanitizers.h"
#include "device/several_cards.h"
#include "device/written_model.h"
#include "models/registry.h"
#include "pipeline/pipeline.h"
#include "support/adapter_swaps.h"
#include "support/source_folder.h"

namespace intaglio {
namespace {

using test::device;
using test::expect_nothing_left;
using test::latents;
using test::mask_of;
using test::SideOrder;
using testing::HasSubstr;

// `others`: the cards that share the passes of card 0.
PipelineOptions options_on(std::vector<int> others, Precision precision = Precision::kInt8) {
  PipelineOptions options = test::options_on_first_card(precision);
  options.rank_gpus = std::move(others);
  return options;
}

// A pass on each of two pairs: cards 0 and 1 of the first, 1 and 0 of the second.
PipelineOptions options_on_pairs(Precision precision = Precision::kInt8) {
  PipelineOptions options = options_on({1}, precision);
  options.second_gpu = 1;
  options.second_rank_gpus = {0};
  return options;
}

// Heads for three ranks: two of them have one, another two; the unconditional transformer's are one
// each.
const std::shared_ptr<const Model>& tiny_model() {
  static const std::shared_ptr<const Model> model = [] {
    test::WrittenSizes sizes = test::tiny_sizes();
    sizes.conditional.heads = 4;
    sizes.unconditional.heads = 3;
    return test::written_model(sizes);
  }();
  return model;
}

// Of rows that neither two nor three ranks divide.
PictureRequest request_of(int64_t steps = 3) {
  return test::guided_request({5, 17, 3, 99, 42}, steps);
}

TEST(SplitPasses, PicturesAreThoseOfOneCard) {
  const PictureRequest request = request_of();
  for (const Precision precision : {Precision::kFp32, Precision::kBf16, Precision::kInt8}) {
    device().restart();
    const auto one = Pipeline::open(tiny_model(), options_on({}, precision)).value();
    const std::vector<float> expected = latents(*one, request);
    for (const std::vector<int>& others : {std::vector<int>{1}, {1, 1}}) {
      if (precision == Precision::kBf16 && others.size() > 1) continue;
      const auto split = Pipeline::open(tiny_model(), options_on(others, precision)).value();
      EXPECT_EQ(latents(*split, request), expected);
      EXPECT_EQ(latents(*split, request), expected);  // the text is known now
      PictureRequest other = request;
      other.token_ids = std::vector<int32_t>(29, 4);
      other.height = 32;
      EXPECT_EQ(latents(*split, other), latents(*one, other));
    }
  }
  expect_nothing_left();
}

// Each pass on a pair of cards, in every order that these may take.
TEST(SplitPasses, PairsWithAPassEachDrawWhatOneCardDraws) {
  PictureRequest masked = request_of(6);
  masked.mask = mask_of("XXrX.X", "XrX.r.");
  PictureRequest halved = request_of(6);
  halved.width = halved.height = 32;
  halved.progressive = "3";
  for (const Precision precision : {Precision::kBf16, Precision::kInt8}) {
    if (kSanitized && precision == Precision::kBf16) continue;
    device().restart();
    std::vector<std::vector<float>> expected;
    {
      const auto one = Pipeline::open(tiny_model(), options_on({}, precision)).value();
      for (const PictureRequest& request : {request_of(), masked, halved})
        expected.push_back(latents(*one, request));
    }
    for (const SideOrder order : {SideOrder::kSideLast, SideOrder::kSideFirst}) {
      for (const bool peers : {true, false}) {
        if (kSanitized && peers == (order == SideOrder::kSideFirst)) continue;
        device().restart(order);
        device().set_peers(peers);
        const auto pairs = Pipeline::open(tiny_model(), options_on_pairs(precision)).value();
        size_t next = 0;
        for (const PictureRequest& request : {request_of(), masked, halved})
          EXPECT_EQ(latents(*pairs, request), expected[next++]) << next;
        EXPECT_EQ(latents(*pairs, request_of()), expected[0]) << "the text is known now";
      }
    }
  }
  expect_nothing_left();
}

// Two streams, the image first, pads, grouped queries; a pass or two a step, of one text or two.
class SplitPassesModels : public testing::TestWithParam<const char*> {};

TEST_P(SplitPassesModels, PicturesAreThoseOfOneCard) {
  const std::string folder = std::string("tests/reference/") + GetParam() + "/tiny";
  const auto model = open_model({.folder = test::source_path(folder)}).value();
  PictureRequest request;
  request.prompt = "a red fox";
  request.width = request.height = 96;
  request.guidance = {3.0f, model->info().no_guidance};
  request.steps = 2;
  request.seed = 7;
  for (const Precision precision : {Precision::kFp32, Precision::kInt8}) {
    if (kSanitized && precision == Precision::kFp32) continue;  // ten times as slow there
    device().restart();
    const auto one = Pipeline::open(model, options_on({}, precision)).value();
    const std::vector<float> expected = latents(*one, request);
    const auto split = Pipeline::open(model, options_on({1}, precision)).value();
    EXPECT_EQ(latents(*split, request), expected) << precision_name(precision);
    EXPECT_EQ(latents(*split, request), expected) << "the text is known now";
    EXPECT_GT(device().device(1).peak, 0u);
    if (!model->info().unguided_reason.empty()) continue;
    const auto pairs = Pipeline::open(model, options_on_pairs(precision)).value();
    EXPECT_EQ(latents(*pairs, request), expected) << precision_name(precision) << ", pairs";
  }
  expect_nothing_left();
}

INSTANTIATE_TEST_SUITE_P(Models, SplitPassesModels,
                         testing::Values("z_image", "flux2_klein", "krea2", "qwen_image"),
                         [](const auto& info) { return std::string(info.param); });

TEST(SplitPasses, PicturesAreTheSameInEveryOrder) {
  const PictureRequest request = request_of();
  device().restart();
  const std::vector<float> expected =
      latents(*Pipeline::open(tiny_model(), options_on({})).value(), request);
  for (const SideOrder order : {SideOrder::kSideLast, SideOrder::kSideFirst}) {
    for (const bool peers : {true, false}) {
      device().restart(order);
      device().set_peers(peers);
      {
        const auto pipeline = Pipeline::open(tiny_model(), options_on({1})).value();
        for (int picture = 0; picture < 2; ++picture)
          EXPECT_EQ(latents(*pipeline, request), expected);
        EXPECT_EQ(device().peer_copies() > 0, peers);
      }
      expect_nothing_left();
    }
  }
}

// Masks, both sizes of steps and adapters; no work for one card touches the other's memory but the
// copies between them.
TEST(SplitPasses, WhateverAPictureAsksForIsAsOnOneCard) {
  PictureRequest masked = request_of(6);
  masked.width = masked.height = 32;
  masked.mask = mask_of("XXrX.X", "XrX.r.");
  PictureRequest halved = request_of(6);
  halved.width = halved.height = 32;
  halved.progressive = "3";
  std::vector<std::vector<float>> expected;
  test::AdapterSwaps swaps(tiny_model(), options_on({}), request_of());
  const AdapterUse low_rank = swaps.low_rank("a", {.rank = 4});
  const AdapterUse merged = swaps.difference("merged", 0.05f);
  device().restart();
  const auto one = Pipeline::open(tiny_model(), options_on({})).value();
  for (const bool guarded : {false, true}) {
    device().restart();
    device().set_guarded(guarded);
    {
      const auto split = Pipeline::open(tiny_model(), options_on({1})).value();
      size_t next = 0;
      const auto check = [&](const PictureRequest& request) {
        const std::vector<float> drawn = latents(*split, request);
        if (guarded) {
          EXPECT_EQ(drawn, expected[next++]);
        } else {
          EXPECT_EQ(drawn, latents(*one, request));
          expected.push_back(drawn);
        }
      };
      for (const PictureRequest& request : {request_of(), masked, halved, request_of()})
        check(request);
      for (const std::vector<AdapterUse>& adapters :
           {std::vector<AdapterUse>{low_rank}, {merged, low_rank}, {}}) {
        ASSERT_TRUE(split->set_adapters(adapters));
        if (!guarded) {
          ASSERT_TRUE(one->set_adapters(adapters));
        }
        check(request_of());
      }
    }
  }
}

TEST(SplitPasses, EachCardTakesWhatIsPlannedForIt) {
  test::WrittenSizes sizes = test::planned_sizes(false);
  const auto model = test::written_model(sizes);
  PictureRequest masked = request_of();
  masked.mask = mask_of("XXX", "XrX");
  PictureRequest halved = request_of();
  halved.width = halved.height = 64;
  halved.progressive = "1";
  for (const PictureRequest& request : {request_of(), masked, halved}) {
    device().restart();
    device().set_computing(false);
    const auto pipeline = Pipeline::open(model, options_on({1})).value();
    const auto plan = pipeline->plan(request);
    ASSERT_TRUE(plan) << plan.error().message;
    ASSERT_EQ(plan->rank_memory.size(), 1u);
    for (int picture = 0; picture < 2; ++picture)
      ASSERT_TRUE(pipeline->generate(*plan, {}, nullptr));
    EXPECT_LE(device().device(0).peak, plan->peak_bytes());
    EXPECT_LE(device().device(1).peak, plan->rank_peak_bytes());
    EXPECT_GE(device().device(1).now, plan->rank_memory.front().transformer_bytes);
  }
}

// A card of a pair has the transformer of its pass alone, and the rows that are its part. The
// second card of each is the first one of the other here: what both take lies there.
TEST(SplitPasses, EachCardOfPairsTakesWhatIsPlannedForIt) {
  const auto model = test::written_model(test::planned_sizes(false));
  PictureRequest masked = request_of();
  masked.mask = mask_of("XXX", "XrX");
  for (const PictureRequest& request : {request_of(), masked}) {
    device().restart();
    device().set_computing(false);
    const auto pipeline = Pipeline::open(model, options_on_pairs()).value();
    const auto plan = pipeline->plan(request);
    ASSERT_TRUE(plan) << plan.error().message;
    ASSERT_EQ(plan->rank_memory.size(), 2u);
    const MemoryPlan &first = plan->rank_memory[0], &second = plan->rank_memory[1];
    EXPECT_TRUE(first.budgets[0] && !first.budgets[1]);
    EXPECT_TRUE(!second.budgets[0] && second.budgets[1]);
    for (int picture = 0; picture < 2; ++picture)
      ASSERT_TRUE(pipeline->generate(*plan, {}, nullptr));
    EXPECT_LE(device().device(0).peak, plan->peak_bytes() + second.peak_bytes());
    EXPECT_LE(device().device(1).peak, plan->second_peak_bytes() + first.peak_bytes());
    EXPECT_GE(device().device(1).now,
              plan->second_memory->transformer_bytes + first.transformer_bytes);
  }
}

// Of calls to either card many fail once in turn: the picture fails with it, nothing stays on
// either card, and the same pipeline then draws what it would have drawn.
TEST(SplitPasses, AFailingCallEndsThePicture) {
  const PictureRequest request = request_of(2);
  std::vector<float> expected;
  int64_t calls = 0;
  for (const auto& [peers, options] :
       {std::pair{true, options_on({1})}, std::pair{false, options_on({1})},
        std::pair{true, options_on_pairs()}}) {
    {
      device().restart();
      device().set_peers(peers);
      const auto pipeline = Pipeline::open(tiny_model(), options).value();
      device().restart();
      device().set_peers(peers);
      expected = latents(*pipeline, request);
      calls = device().calls();
    }
    ASSERT_GT(calls, 300);
    const int64_t stride = kSanitized ? 509 : 79;
    for (int64_t call = 0; call < calls; call += stride) {
      device().restart();
      device().set_peers(peers);  // before the links of the cards are made
      auto pipeline = Pipeline::open(tiny_model(), options).value();
      device().restart(call % 2 == 0 ? SideOrder::kSideFirst : SideOrder::kSideLast);
      device().set_peers(peers);
      device().fail_call(call);
      const auto drawn = pipeline->generate(request, {}, nullptr);
      ASSERT_TRUE(device().has_failed());
      ASSERT_EQ(bool(drawn), device().failed_call().starts_with("mark: "))
          << "call " << call << ", " << device().failed_call();
      if (!drawn) {
        ASSERT_NE(drawn.error().code, ErrorCode::kCancelled) << drawn.error().message;
      }
      ASSERT_EQ(device().unjoined_streams(), std::vector<int>{}) << "call " << call;
      if (call / stride % 8 == 0) {
        ASSERT_EQ(latents(*pipeline, request), expected) << "after call " << call;
      }
      pipeline.reset();
      ASSERT_NO_FATAL_FAILURE(expect_nothing_left());
      ASSERT_FALSE(HasFailure()) << "call " << call << ", " << device().failed_call();
    }
  }
}

TEST(SplitPasses, AStopIsHeardOnAllCards) {
  for (const PipelineOptions& options : {options_on({1}), options_on_pairs()}) {
    device().restart();
    const auto pipeline = Pipeline::open(tiny_model(), options).value();
    test::expect_stops_at_every_step(*pipeline, request_of());
  }
}

// As --devices has them: those of the first pass, then those of the second.
TEST(SplitPasses, CardsOfBothPassesAreNamedInTheirOrder) {
  device().restart();
  PipelineOptions options = options_on_pairs();
  options.second_gpu = 0;
  options.second_rank_gpus = {0};
  const auto pipeline = Pipeline::open(tiny_model(), options).value();
  std::vector<int> ordinals;
  for (const Context* other : pipeline->other_contexts()) ordinals.push_back(other->gpu->ordinal);
  EXPECT_EQ(ordinals, (std::vector<int>{1, 0, 0}));
}

TEST(SplitPasses, WhatCannotBeIsRefusedBeforeWork) {
  device().restart();
  PipelineOptions options = options_on({5});
  auto opened = Pipeline::open(tiny_model(), options);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ErrorCode::kNotFound);
  options = options_on({1});
  options.vram_budget = uint64_t{1} << 30;
  opened = Pipeline::open(tiny_model(), options);
  ASSERT_FALSE(opened);
  EXPECT_THAT(opened.error().message, HasSubstr("2 GPUs that share passes take no VRAM budget"));
  options = options_on_pairs();
  options.second_gpu.reset();
  opened = Pipeline::open(tiny_model(), options);
  ASSERT_FALSE(opened);
  EXPECT_THAT(opened.error().message, HasSubstr("expected another GPU beside them"));
  options = options_on_pairs();
  options.second_rank_gpus = {0, 0, 0};  // the unconditional transformer has three heads
  opened = Pipeline::open(tiny_model(), options);
  ASSERT_TRUE(opened);
  EXPECT_THAT((*opened)->plan(request_of()).error().message,
              HasSubstr("3 key heads is split over 4 devices"));
  opened = Pipeline::open(tiny_model(), options_on({1, 1, 1}));
  ASSERT_TRUE(opened);
  const auto plan = (*opened)->plan(request_of());
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(plan.error().message, HasSubstr("3 key heads is split over 4 devices"));
  EXPECT_EQ(device().device(0).now + device().device(1).now, 0u);
}

// Its image is enough for two cards at full size, and not at half.
TEST(SplitPasses, StepsAtHalfSizeAreRefusedBeforeWork) {
  device().restart();
  const auto model =
      open_model({.folder = test::source_path("tests/reference/z_image/tiny")}).value();
  const auto split = Pipeline::open(model, options_on({1})).value();
  PictureRequest request;
  request.prompt = "a red fox";
  request.width = request.height = 128;
  request.guidance = {model->info().no_guidance, model->info().no_guidance};
  request.steps = 2;
  EXPECT_TRUE(split->plan(request));
  request.progressive = "1";
  const auto plan = split->plan(request);
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(plan.error().message, HasSubstr("32 image and 32 text rows is split over 2 devices"));
}

}  // namespace
}  // namespace intaglio
