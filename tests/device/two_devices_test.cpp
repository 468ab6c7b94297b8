// One picture on two made-up cards: the bits of one card, whoever waits for whom; each card takes
// what is planned for it; what fails on one leaves nothing on either.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <optional>
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

enum class Cards { kOne, kTwo, kSameTwice };

PipelineOptions options_on(Cards cards, Precision precision = Precision::kInt8) {
  PipelineOptions options = test::options_on_first_card(precision);
  if (cards != Cards::kOne) options.second_gpu = cards == Cards::kTwo ? 1 : 0;
  return options;
}

const std::shared_ptr<const Model>& tiny_model() {
  static const std::shared_ptr<const Model> model = test::written_model(test::tiny_sizes());
  return model;
}

PictureRequest request_of(int64_t steps = 3) {
  return test::guided_request({5, 17, 3, 99, 42, 8}, steps);
}

// Models of two transformers, and of one whose passes read two texts.
class TwoDevicesModels : public testing::TestWithParam<const char*> {};

TEST_P(TwoDevicesModels, PicturesAreThoseOfOneCard) {
  const auto model = open_model({.folder = test::source_path(GetParam())}).value();
  PictureRequest request;
  request.prompt = "a red fox";
  request.width = request.height = 32;
  request.guidance = {3.0f, 2.0f, model->info().no_guidance};
  request.steps = 3;
  request.seed = 7;
  for (const Precision precision : {Precision::kFp32, Precision::kInt8}) {
    device().restart();
    const auto one = Pipeline::open(model, options_on(Cards::kOne, precision)).value();
    const std::vector<float> expected = latents(*one, request);
    const auto two = Pipeline::open(model, options_on(Cards::kTwo, precision)).value();
    EXPECT_EQ(latents(*two, request), expected);
    // Both texts are known now, and passes are recorded.
    EXPECT_EQ(latents(*two, request), expected);
    EXPECT_GT(device().device(1).peak, 0u);
    PictureRequest other = request;
    other.prompt = "two owls";
    other.height = 48;
    EXPECT_EQ(latents(*two, other), latents(*one, other));
    EXPECT_EQ(latents(*two, request), expected);
  }
  expect_nothing_left();
}

INSTANTIATE_TEST_SUITE_P(
    Models, TwoDevicesModels,
    testing::Values("tests/reference/data/tiny", "tests/reference/z_image/tiny",
                    "tests/reference/krea2/tiny", "tests/reference/qwen_image/tiny"),
    [](const auto& info) {
      const std::string folder = std::filesystem::path(info.param).parent_path().filename();
      return folder;
    });

// A side stream, and so the second card, does all it may at once, or nothing before it must; the
// cards reach each other, or the host's memory alone.
TEST(TwoDevices, PicturesAreTheSameInEveryOrder) {
  const PictureRequest request = request_of();
  device().restart();
  const std::vector<float> expected =
      latents(*Pipeline::open(tiny_model(), options_on(Cards::kOne)).value(), request);
  for (const Cards cards : {Cards::kTwo, Cards::kSameTwice}) {
    for (const SideOrder order : {SideOrder::kSideLast, SideOrder::kSideFirst}) {
      for (const bool peers : {true, false}) {
        device().restart(order);
        device().set_peers(peers);
        {
          const auto pipeline = Pipeline::open(tiny_model(), options_on(cards)).value();
          for (int picture = 0; picture < 3; ++picture)
            EXPECT_EQ(latents(*pipeline, request), expected);
          const bool reached = peers || cards == Cards::kSameTwice;
          // There and back, in each of two guided steps.
          EXPECT_EQ(device().peer_copies(), reached ? 3 * 2 * 2 : 0);
        }
        expect_nothing_left();
      }
    }
  }
}

// No work for one card touches the other's memory but the copies between them: with weights read
// once a picture, masks, both sizes of steps and adapters.
TEST(TwoDevices, EachCardTouchesItsOwnMemoryAlone) {
  const auto model = open_model({.folder = test::source_path("tests/reference/z_image/tiny")});
  PictureRequest two_texts;
  two_texts.prompt = "a red fox";
  two_texts.width = two_texts.height = 32;
  two_texts.steps = 2;
  two_texts.guidance = {3.0f, 3.0f};
  PictureRequest masked = request_of(6);
  masked.width = masked.height = 32;
  masked.mask = mask_of("XXrX.X", "XrX.r.");
  PictureRequest halved = request_of(6);
  halved.width = halved.height = 32;
  halved.progressive = "3";
  test::AdapterSwaps swaps(tiny_model(), options_on(Cards::kTwo), request_of());
  const AdapterUse low_rank = swaps.low_rank("a", {.rank = 4});
  for (const bool peers : {true, false}) {
    device().restart();
    device().set_peers(peers);
    device().set_guarded(true);
    {
      const auto pipeline = Pipeline::open(tiny_model(), options_on(Cards::kTwo)).value();
      for (const PictureRequest& request : {request_of(), request_of(), masked, halved})
        EXPECT_FALSE(latents(*pipeline, request).empty());
      ASSERT_TRUE(pipeline->set_adapters({low_rank}));
      EXPECT_FALSE(latents(*pipeline, request_of()).empty());
      const auto other = Pipeline::open(*model, options_on(Cards::kTwo)).value();
      for (int picture = 0; picture < 2; ++picture)
        EXPECT_FALSE(latents(*other, two_texts).empty());
    }
    expect_nothing_left();
  }
}

// What a mask predicts and reuses of the second pass, and steps at half size.
TEST(TwoDevices, MasksAndHalfSizeStepsAreThoseOfOneCard) {
  device().restart();
  const auto one = Pipeline::open(tiny_model(), options_on(Cards::kOne)).value();
  const auto two = Pipeline::open(tiny_model(), options_on(Cards::kTwo)).value();
  PictureRequest request = request_of(6);
  request.width = request.height = 32;
  const std::vector<float> whole = latents(*two, request);
  EXPECT_EQ(whole, latents(*one, request));
  for (const auto& [first, second] : {std::pair{"XXrX.X", "XrX.r."}, {"X.X..X", "XX.X.r"}}) {
    request.mask = mask_of(first, second);
    const std::vector<float> masked = latents(*two, request);
    EXPECT_EQ(masked, latents(*one, request)) << first;
    EXPECT_NE(masked, whole);
  }
  request.mask.reset();
  request.progressive = "3";
  EXPECT_EQ(latents(*two, request), latents(*one, request));
  request.progressive.clear();
  EXPECT_EQ(latents(*two, request), whole);
}

// Low rank beside the second transformer's linears, and what is merged into its weights.
TEST(TwoDevices, AdaptersComeAndGo) {
  device().restart();
  test::AdapterSwaps swaps(tiny_model(), options_on(Cards::kTwo), request_of());
  const AdapterUse a = swaps.low_rank("a", {.rank = 4});
  const AdapterUse merged = swaps.difference("merged", 0.05f);
  swaps.expect_each({{}, {a}, {merged, a}, {}});
  test::AdapterSwaps one(tiny_model(), options_on(Cards::kOne), request_of());
  EXPECT_EQ(swaps.fresh({a}), one.fresh({a}));
  expect_nothing_left();
}

// Each card takes no more than its plan, and of the transformers its own alone.
TEST(TwoDevices, EachCardTakesWhatIsPlannedForIt) {
  const auto model = test::written_model(test::planned_sizes(false));
  PictureRequest masked = request_of();
  masked.mask = mask_of("XXX", "XrX");
  PictureRequest halved = request_of();
  halved.width = halved.height = 64;
  halved.progressive = "1";
  for (const PictureRequest& request : {request_of(), masked, halved}) {
    device().restart();
    device().set_computing(false);
    const auto one = Pipeline::open(model, options_on(Cards::kOne)).value()->plan(request);
    ASSERT_TRUE(one) << one.error().message;
    const auto pipeline = Pipeline::open(model, options_on(Cards::kTwo)).value();
    const auto plan = pipeline->plan(request);
    ASSERT_TRUE(plan) << plan.error().message;
    for (int picture = 0; picture < 2; ++picture)
      ASSERT_TRUE(pipeline->generate(*plan, {}, nullptr));
    EXPECT_LE(device().device(0).peak, plan->peak_bytes());
    EXPECT_LE(device().device(1).peak, plan->second_peak_bytes());
    const uint64_t first = plan->memory.transformer_bytes;
    const uint64_t second = plan->second_memory->transformer_bytes;
    EXPECT_GE(device().device(1).now, second);
    // Slots for what is read once a picture are on both.
    EXPECT_GE(first + second, one->memory.transformer_bytes);
    EXPECT_LT(plan->peak_bytes(), one->peak_bytes());
    EXPECT_EQ(plan->second_memory->pinned_bytes + plan->memory.pinned_bytes,
              one->memory.pinned_bytes);
  }
}

// Ideogram 4 at int8, in its own size: nothing streams, and of the text encoder's layers those that
// do not fit beside nothing else are read one at a time.
TEST(TwoDevices, CardsOf12GigabytesHoldATransformerEach) {
  device().restart();
  const auto model = synthetic_model("ideogram4").value();
  PictureRequest request = request_of(20);
  request.token_ids = std::vector<int32_t>(512, 5);
  request.width = request.height = 1024;
  PipelineOptions options = options_on(Cards::kTwo);
  options.memory_limit = 12'000'000'000;
  const auto plan = Pipeline::open(model, options).value()->plan(request);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_LE(plan->peak_bytes(), options.memory_limit);
  EXPECT_LE(plan->second_peak_bytes(), options.memory_limit);
  EXPECT_EQ(plan->streamed_bytes(), 0u);
  EXPECT_GT(plan->memory.kept_scratch, 0u);
  options.second_gpu.reset();
  EXPECT_FALSE(Pipeline::open(model, options).value()->plan(request));
}

// Each card's memory is its own: what the second one lacks is told before any work, with its name.
TEST(TwoDevices, TheSecondCardsMemoryIsPlanned) {
  constexpr uint64_t kCard = uint64_t{512} << 20, kDriver = uint64_t{256} << 20;
  constexpr uint64_t kTwoGranules = uint64_t{4} << 20;
  const auto model = test::written_model(test::planned_sizes(false));
  device().restart();
  device().set_computing(false);
  device().set_capacity(kCard);
  const auto plan = [&] {
    return Pipeline::open(model, options_on(Cards::kTwo)).value()->plan(request_of());
  };
  const auto ample = plan();
  ASSERT_TRUE(ample) << ample.error().message;
  const uint64_t needed = kDriver + ample->second_peak_bytes();
  const DeviceContext other = *open_device(1, 1);
  for (const uint64_t left : {needed + kTwoGranules, needed - kTwoGranules}) {
    ASSERT_TRUE(make_current(other.context));
    const AlignedBuffer taken = *allocate(other.context, kCard - left);
    const auto planned = plan();
    ASSERT_EQ(planned.has_value(), left > needed);
    if (planned) continue;
    EXPECT_EQ(planned.error().code, ErrorCode::kOutOfMemory);
    EXPECT_THAT(planned.error().message, HasSubstr("cuda:1: a 16x16 picture at int8: needs "));
  }
  EXPECT_EQ(device().device(0).now, 0u);
}

// Every call to either card fails once in turn: the picture fails with it, nothing stays on either
// card, and the same pipeline then draws what it would have drawn.
TEST(TwoDevices, AFailingCallEndsThePicture) {
  const PictureRequest request = request_of();
  std::vector<float> expected;
  int64_t calls = 0;
  for (const bool peers : {true, false}) {
    {
      device().restart();
      device().set_peers(peers);
      const auto pipeline = Pipeline::open(tiny_model(), options_on(Cards::kTwo)).value();
      device().restart();
      device().set_peers(peers);
      expected = latents(*pipeline, request);
      calls = device().calls();
    }
    ASSERT_GT(calls, 300);
    const int64_t stride = kSanitized ? 211 : peers ? 11 : 37;
    for (int64_t call = 0; call < calls; call += stride) {
      const bool draws_again = (call / stride) % 16 == 0;  // the others are sizes and orders alone
      device().restart();
      auto pipeline = Pipeline::open(tiny_model(), options_on(Cards::kTwo)).value();
      device().restart(call % 64 < 32 ? SideOrder::kSideFirst : SideOrder::kSideLast);
      device().set_peers(peers);
      device().set_computing(draws_again);
      device().fail_call(call);
      const auto drawn = pipeline->generate(request, {}, nullptr);
      ASSERT_TRUE(device().has_failed());
      ASSERT_EQ(bool(drawn), device().failed_call().starts_with("mark: "))
          << "call " << call << ", " << device().failed_call();
      ASSERT_EQ(device().unjoined_streams(), std::vector<int>{}) << "call " << call;
      if (draws_again) {
        ASSERT_EQ(latents(*pipeline, request), expected) << "after call " << call;
      }
      pipeline.reset();
      ASSERT_NO_FATAL_FAILURE(expect_nothing_left());
      ASSERT_FALSE(HasFailure()) << "call " << call << ", " << device().failed_call();
    }
  }
}

TEST(TwoDevices, AStopIsHeardOnBothCards) {
  device().restart();
  const auto pipeline = Pipeline::open(tiny_model(), options_on(Cards::kTwo)).value();
  test::expect_stops_at_every_step(*pipeline, request_of());
}

TEST(TwoDevices, WhatCannotBeIsRefusedBeforeWork) {
  device().restart();
  PipelineOptions options = options_on(Cards::kTwo);
  options.second_gpu = 5;
  auto opened = Pipeline::open(tiny_model(), options);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(opened.error().message, HasSubstr("cuda:5: the last of this machine's GPUs"));
  options = options_on(Cards::kTwo);
  options.gpu.reset();
  opened = Pipeline::open(tiny_model(), options);
  ASSERT_FALSE(opened);
  EXPECT_THAT(opened.error().message, HasSubstr("found the CPU and cuda:1"));
  options = options_on(Cards::kTwo);
  options.vram_budget = uint64_t{1} << 30;
  opened = Pipeline::open(tiny_model(), options);
  ASSERT_FALSE(opened);
  EXPECT_THAT(opened.error().message, HasSubstr("cuda:0 and cuda:1 take no VRAM budget"));
  const auto distilled = synthetic_model("flux2-klein-9b").value();
  opened = Pipeline::open(distilled, options_on(Cards::kTwo));
  ASSERT_FALSE(opened);
  EXPECT_THAT(opened.error().message, HasSubstr("nothing to do for cuda:1: synthetic:flux2-klein"));
  EXPECT_THAT(opened.error().message, HasSubstr(" is distilled, "));
  opened = Pipeline::open(tiny_model(), options_on(Cards::kTwo));
  ASSERT_TRUE(opened);
  PictureRequest unguided = request_of();
  unguided.guidance.assign(3, 1.0f);
  const auto plan = (*opened)->plan(unguided);
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(plan.error().message, HasSubstr("the picture has 1 pass a step"));
  EXPECT_EQ(device().device(0).now + device().device(1).now, 0u);
}

}  // namespace
}  // namespace intaglio
