#include "ops/cuda/tuning/tuner.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "gpus.h"
#include "ops/cuda/tuning/tuning_cache.h"
#include "support/temp_folder.h"

namespace intaglio::cuda {
namespace {

// A card whose true times are known, with noise and kernels that fail.
struct FakeCard {
  CudaDevice device = rtx_3090();
  std::string fastest = "sm80_64x128x64_4";
  std::set<std::string> wrong, refused;
  int measured = 0, checked = 0, prepared = 0;
  std::vector<std::string> order;
  std::vector<TuningEntry> saved;
  std::atomic<bool> cancel{false};
  int cancel_after = -1;  // measurements

  double time_of(const S8GemmChoice& choice) const {
    double ms = choice.config == fastest ? 0.5 : 0.55;
    ms += 0.001 * choice.band + 0.01 * (choice.split_k - 1);
    // Every fifth round is disturbed, and by turns: means would mislead, medians do not.
    return measured % 5 == 0 ? 3 * ms : ms;
  }

  TunerCallbacks callbacks() {
    TunerCallbacks c;
    c.prepare = [this](const S8GemmShape&) -> Status {
      ++prepared;
      return {};
    };
    c.check = [this](const S8GemmChoice& choice, const S8GemmShape&) -> Status {
      ++checked;
      if (wrong.count(choice.config) > 0)
        return make_error(ErrorCode::kInternal, "{}: wrong result", choice.config);
      if (refused.count(choice.config) > 0)
        return make_error(ErrorCode::kUnsupported, "{}: refused", choice.config);
      return {};
    };
    c.measure = [this](const S8GemmChoice& choice, const S8GemmShape&) -> Expected<double> {
      order.push_back(choice.config);
      if (++measured == cancel_after) cancel = true;
      return time_of(choice);
    };
    c.save = [this](const TuningEntry& entry) -> Status {
      saved.push_back(entry);
      return {};
    };
    return c;
  }
  Expected<TuningRun> run(const std::vector<S8GemmShape>& shapes, const TunerCallbacks& c) {
    TunerOptions options;
    options.cancel = &cancel;
    return tune_s8_gemm(device, shapes, tile_configs(device), options, c);
  }
};

const std::vector<S8GemmShape> kOne{{4608, 4608, 4608}};
const std::vector<S8GemmShape> kThree{{4608, 4608, 4608}, {4608, 13824, 4608}, {512, 4608, 4608}};

TEST(Tuner, FindsTheFastestByMedian) {
  FakeCard card;
  card.fastest = "sm80_128x128x128_3";
  const Expected<TuningRun> run = card.run(kOne, card.callbacks());
  ASSERT_TRUE(run);
  ASSERT_EQ(run->shapes.size(), 1u);
  const TunedShape& shape = run->shapes[0];
  EXPECT_EQ(shape.state, TunedState::kTuned);
  EXPECT_EQ(shape.best.config, "sm80_128x128x128_3");
  EXPECT_LT(shape.median_ms, 0.53);
  EXPECT_GT(shape.heuristic_ms, shape.median_ms);
  ASSERT_EQ(card.saved.size(), 1u);
  EXPECT_EQ(card.saved[0].choice, shape.best);
  EXPECT_EQ(card.saved[0].shape.m, 4608);
  EXPECT_FALSE(run->cancelled);
}

TEST(Tuner, TriesFewCandidatesOfSeveralConfigs) {
  const TunerOptions options;
  const CudaDevice device = rtx_3090();
  const auto ranked = rank_s8_gemm(device, kOne[0], tile_configs(device));
  EXPECT_GT(ranked.size(), 12u);
  const std::vector<RankedChoice> kept = prune_candidates(ranked, options);
  EXPECT_EQ(kept.size(), options.max_candidates);
  EXPECT_EQ(kept.front().choice, ranked.front().choice);
  std::map<std::string, size_t> count;
  for (const RankedChoice& candidate : kept) ++count[candidate.choice.config];
  EXPECT_GE(count.size(), 4u);
  for (const auto& [config, times] : count) EXPECT_LE(times, options.max_per_config) << config;
}

TEST(Tuner, RoundsAreInterleavedAndStartElsewhere) {
  FakeCard card;
  ASSERT_TRUE(card.run(kOne, card.callbacks()));
  const size_t count = 12;
  ASSERT_GE(card.order.size(), 2 * count);
  const std::multiset<std::string> first(card.order.begin(), card.order.begin() + count);
  const std::multiset<std::string> second(card.order.begin() + count,
                                          card.order.begin() + 2 * count);
  EXPECT_EQ(first, second);
  EXPECT_TRUE(
      std::equal(card.order.begin() + 1, card.order.begin() + count, card.order.begin() + count));
}

TEST(Tuner, WrongResultsAreNeverTimed) {
  FakeCard card;
  card.fastest = "sm80_128x128x64_3";
  card.wrong = {"sm80_128x128x64_3"};
  card.refused = {"sm80_128x256x64_4"};
  const Expected<TuningRun> run = card.run(kOne, card.callbacks());
  ASSERT_TRUE(run);
  const TunedShape& shape = run->shapes[0];
  EXPECT_EQ(shape.state, TunedState::kTuned);
  EXPECT_NE(shape.best.config, "sm80_128x128x64_3");
  for (const std::string& config : card.order) {
    EXPECT_NE(config, "sm80_128x128x64_3");
    EXPECT_NE(config, "sm80_128x256x64_4");
  }
  for (const TunedCandidate& c : shape.candidates) {
    // Refusing is a kernel's right; a wrong result is a bug.
    EXPECT_EQ(c.wrong, c.choice.config == "sm80_128x128x64_3");
    EXPECT_EQ(c.problem.empty(),
              card.wrong.count(c.choice.config) + card.refused.count(c.choice.config) == 0);
  }
}

TEST(Tuner, AFailingShapeDoesNotStopTheOthers) {
  FakeCard card;
  TunerCallbacks callbacks = card.callbacks();
  callbacks.prepare = [&](const S8GemmShape& shape) -> Status {
    if (shape.n == 13824) return make_error(ErrorCode::kOutOfMemory, "too large");
    return {};
  };
  const Expected<TuningRun> run = card.run(kThree, callbacks);
  ASSERT_TRUE(run);
  ASSERT_EQ(run->shapes.size(), 3u);
  EXPECT_EQ(run->shapes[0].state, TunedState::kTuned);
  EXPECT_EQ(run->shapes[1].state, TunedState::kFailed);
  EXPECT_EQ(run->shapes[1].problem, "too large");
  EXPECT_EQ(run->shapes[2].state, TunedState::kTuned);
  EXPECT_EQ(card.saved.size(), 2u);
}

TEST(Tuner, NothingRunsIsAFailureWithAReason) {
  FakeCard card;
  TunerCallbacks callbacks = card.callbacks();
  callbacks.measure = [](const S8GemmChoice&, const S8GemmShape&) -> Expected<double> {
    return make_error(ErrorCode::kInternal, "launch failed");
  };
  Expected<TuningRun> run = card.run(kOne, callbacks);
  ASSERT_TRUE(run);
  EXPECT_EQ(run->shapes[0].state, TunedState::kFailed);
  EXPECT_NE(run->shapes[0].problem.find("launch failed"), std::string::npos);
  callbacks.measure = [](const S8GemmChoice&, const S8GemmShape&) -> Expected<double> {
    return 0.0;
  };
  run = card.run(kOne, callbacks);
  ASSERT_TRUE(run);
  EXPECT_EQ(run->shapes[0].state, TunedState::kFailed);
  EXPECT_TRUE(card.saved.empty());
  card.device.compute_capability = 61;
  run = card.run(kOne, card.callbacks());
  ASSERT_TRUE(run);
  EXPECT_NE(run->shapes[0].problem.find("no kernel"), std::string::npos);
}

TEST(Tuner, BucketsAreTunedOnce) {
  FakeCard card;
  const Expected<TuningRun> run = card.run(
      {{4100, 64, 64}, {4608, 64, 64}, {4608, 64, 64, GemmEpilogue::kSwiglu}}, card.callbacks());
  ASSERT_TRUE(run);
  EXPECT_EQ(run->shapes.size(), 2u);
  EXPECT_EQ(card.prepared, 2);
}

TEST(Tuner, CancelKeepsWhatIsDoneAndTheNextRunGoesOn) {
  const TempFolder folder;
  FakeCard card;
  TuningCache cache = TuningCache::open(tuning_key(card.device), folder.path());
  TunerCallbacks callbacks = card.callbacks();
  callbacks.save = [&](const TuningEntry& entry) { return cache.save(std::vector{entry}); };
  callbacks.is_tuned = [&](const S8GemmShape& shape) {
    return cache.user().find(shape) != nullptr;
  };
  card.cancel_after = 150;  // in the second shape
  Expected<TuningRun> run = card.run(kThree, callbacks);
  ASSERT_TRUE(run);
  EXPECT_TRUE(run->cancelled);
  EXPECT_EQ(run->shapes.size(), 1u);
  EXPECT_EQ(card.measured, 150);

  card.cancel = false;
  card.cancel_after = -1;
  cache = TuningCache::open(tuning_key(card.device), folder.path());
  EXPECT_EQ(cache.user().size(), 1u);
  run = card.run(kThree, callbacks);
  ASSERT_TRUE(run);
  EXPECT_FALSE(run->cancelled);
  ASSERT_EQ(run->shapes.size(), 3u);
  EXPECT_EQ(run->shapes[0].state, TunedState::kAlreadyTuned);
  EXPECT_EQ(run->shapes[2].state, TunedState::kTuned);
  EXPECT_EQ(TuningCache::open(tuning_key(card.device), folder.path()).user().size(), 3u);
}

TEST(Tuner, ACallbackMayCancelToo) {
  FakeCard card;
  TunerCallbacks callbacks = card.callbacks();
  callbacks.prepare = [](const S8GemmShape&) -> Status {
    return make_error(ErrorCode::kCancelled, "cancelled");
  };
  const Expected<TuningRun> run = card.run(kThree, callbacks);
  ASSERT_TRUE(run);
  EXPECT_TRUE(run->cancelled);
}

TEST(Tuner, SlowCandidatesAreDroppedEarly) {
  FakeCard card;
  TunerCallbacks callbacks = card.callbacks();
  callbacks.measure = [&](const S8GemmChoice& choice, const S8GemmShape&) -> Expected<double> {
    card.order.push_back(choice.config);
    return choice.config == "sm80_64x128x64_4" || choice.config == "sm80_128x128x64_3" ? 0.5 : 5.0;
  };
  const Expected<TuningRun> run = card.run(kOne, callbacks);
  ASSERT_TRUE(run);
  for (const TunedCandidate& c : run->shapes[0].candidates) {
    EXPECT_EQ(c.times_ms.size(), c.median_ms > 1 ? 2u : 9u) << c.choice.config;
  }
}

TEST(Tuner, ProgressCountsAndSavingErrorsStop) {
  FakeCard card;
  TunerCallbacks callbacks = card.callbacks();
  size_t done = 0;
  callbacks.progress = [&](const TunerProgress& p) {
    EXPECT_LT(p.shape_index, p.shape_count);
    EXPECT_EQ(p.shape_count, 3u);
    EXPECT_TRUE(p.stage != TunerStage::kMeasure || p.step < p.steps);
    done += p.stage == TunerStage::kDone ? 1 : 0;
  };
  ASSERT_TRUE(card.run(kThree, callbacks));
  EXPECT_EQ(done, 3u);
  callbacks.save = [](const TuningEntry&) -> Status { return make_error(ErrorCode::kIo, "full"); };
  const Expected<TuningRun> run = card.run(kThree, callbacks);
  ASSERT_FALSE(run);
  EXPECT_EQ(run.error().message, "full");
}

TEST(Tuner, ArgumentsAreChecked) {
  FakeCard card;
  EXPECT_FALSE(card.run(kOne, {}));
  TunerOptions options;
  options.rounds = 0;
  EXPECT_FALSE(
      tune_s8_gemm(card.device, kOne, tile_configs(card.device), options, card.callbacks()));
}

}  // namespace
}  // namespace intaglio::cuda
