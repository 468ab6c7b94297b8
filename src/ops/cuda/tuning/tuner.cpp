#include "ops/cuda/tuning/tuner.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <utility>

#include "ops/cuda/tuning/s8_gemm_names.h"
#include "ops/cuda/tuning/shape_bucket.h"

namespace intaglio::cuda {
namespace {

double median_of(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : 0.5 * (values[middle - 1] + values[middle]);
}

// One shape's candidates on their way through check and rounds.
class ShapeTuner {
 public:
  ShapeTuner(const TunerOptions& options, const TunerCallbacks& callbacks, TunerProgress progress)
      : options_(options), callbacks_(callbacks), progress_(progress) {}

  // kCancelled is the only error; everything else ends up in `result`.
  Status run(std::span<const RankedChoice> ranked, TunedShape& result) {
    for (const RankedChoice& r : prune_candidates(ranked, options_)) {
      result.candidates.push_back({r.choice, r.predicted_ms, {}, 0, false, ""});
    }
    if (result.candidates.empty()) {
      result.problem = "no kernel of this build serves this shape";
      return {};
    }
    report(TunerStage::kPrepare, 0, 1);
    if (callbacks_.prepare) {
      const Status prepared = callbacks_.prepare(result.shape);
      if (!prepared) return failed(prepared.error(), result.problem);
    }
    INTAGLIO_TRY(check_all(result));
    INTAGLIO_TRY(measure_all(result));
    pick(result);
    return {};
  }

 private:
  bool cancelled() const { return options_.cancel != nullptr && options_.cancel->load(); }
  static Error cancel_error() { return {ErrorCode::kCancelled, "cancelled"}; }

  void report(TunerStage stage, size_t step, size_t steps) {
    if (!callbacks_.progress) return;
    progress_.stage = stage;
    progress_.step = step;
    progress_.steps = steps;
    callbacks_.progress(progress_);
  }

  // Keeps the message, unless the callback itself was told to stop.
  static Status failed(const Error& error, std::string& problem) {
    if (error.code == ErrorCode::kCancelled) return tl::unexpected<Error>(error);
    problem = error.message.empty() ? std::string(error_code_name(error.code)) : error.message;
    return {};
  }

  Status check_all(TunedShape& result) {
    size_t step = 0;
    for (TunedCandidate& candidate : result.candidates) {
      if (cancelled()) return tl::unexpected<Error>(cancel_error());
      report(TunerStage::kCheck, step++, result.candidates.size());
      const Status right = callbacks_.check(candidate.choice, result.shape);
      if (right) continue;
      candidate.wrong = right.error().code == ErrorCode::kInternal;
      INTAGLIO_TRY(failed(right.error(), candidate.problem));
    }
    return {};
  }

  Status measure_all(TunedShape& result) {
    const size_t count = result.candidates.size();
    const auto rounds = static_cast<size_t>(options_.rounds);
    std::vector<bool> dropped(count, false);
    for (size_t round = 0; round < rounds; ++round) {
      for (size_t i = 0; i < count; ++i) {
        // Each round starts with another one: who runs after a slow kernel finds a cooler card.
        const size_t turn = (i + round) % count;
        TunedCandidate& candidate = result.candidates[turn];
        if (cancelled()) return tl::unexpected<Error>(cancel_error());
        report(TunerStage::kMeasure, round * count + i, rounds * count);
        if (!candidate.problem.empty() || dropped[turn]) continue;
        const Expected<double> time = callbacks_.measure(candidate.choice, result.shape);
        if (!time) {
          INTAGLIO_TRY(failed(time.error(), candidate.problem));
        } else if (!std::isfinite(*time) || *time <= 0) {
          candidate.problem = fmt::format("measured {} ms", *time);
        } else {
          candidate.times_ms.push_back(*time);
        }
      }
      if (round + 1 == static_cast<size_t>(options_.rounds_before_drop)) drop_slow(result, dropped);
    }
    for (TunedCandidate& candidate : result.candidates) {
      candidate.median_ms = median_of(candidate.times_ms);
    }
    return {};
  }

  // By its fastest round, so that one disturbed round drops nobody.
  void drop_slow(const TunedShape& result, std::vector<bool>& dropped) const {
    double best = std::numeric_limits<double>::infinity();
    for (const TunedCandidate& c : result.candidates) {
      if (c.problem.empty()) best = std::min(best, median_of(c.times_ms));
    }
    for (size_t i = 0; i < result.candidates.size(); ++i) {
      const std::vector<double>& times = result.candidates[i].times_ms;
      const bool slow = !times.empty() &&
                        *std::min_element(times.begin(), times.end()) > best * options_.drop_factor;
      dropped[i] = dropped[i] || slow;
    }
  }

  void pick(TunedShape& result) const {
    const TunedCandidate* best = nullptr;
    size_t most_rounds = 0;
    for (const TunedCandidate& c : result.candidates) {
      if (c.problem.empty()) most_rounds = std::max(most_rounds, c.times_ms.size());
    }
    for (const TunedCandidate& c : result.candidates) {
      // Candidates of fewer rounds were dropped: their median stands on too little.
      if (!c.problem.empty() || c.times_ms.empty() || c.times_ms.size() < most_rounds) continue;
      if (best == nullptr || c.median_ms < best->median_ms) best = &c;
    }
    if (best == nullptr) {
      result.problem = fmt::format("none of {} candidates ran; the first said: {}",
                                   result.candidates.size(), result.candidates.front().problem);
      return;
    }
    result.state = TunedState::kTuned;
    result.best = best->choice;
    result.median_ms = best->median_ms;
    // Candidates are sorted by prediction: the first is the heuristic's.
    const TunedCandidate& heuristic = result.candidates.front();
    if (heuristic.problem.empty()) result.heuristic_ms = heuristic.median_ms;
  }

  const TunerOptions& options_;
  const TunerCallbacks& callbacks_;
  TunerProgress progress_;
};

std::vector<S8GemmShape> distinct_buckets(std::span<const S8GemmShape> shapes) {
  std::vector<S8GemmShape> distinct;
  for (const S8GemmShape& shape : shapes) {
    const S8GemmShape bucket = bucketed(shape);
    if (std::find(distinct.begin(), distinct.end(), bucket) == distinct.end())
      distinct.push_back(bucket);
  }
  return distinct;
}

Status check_arguments(const TunerOptions& options, const TunerCallbacks& callbacks) {
  if (!callbacks.check || !callbacks.measure) {
    return make_error(ErrorCode::kInvalidArgument, "tuner: check and measure must be set");
  }
  if (options.rounds < 1 || options.max_candidates < 1 || options.max_per_config < 1 ||
      !(options.drop_factor >= 1.0)) {
    return make_error(
        ErrorCode::kInvalidArgument,
        "tuner: expected at least one round, one candidate, one per config and a drop "
        "factor of at least 1; found {}, {}, {}, {}",
        options.rounds, options.max_candidates, options.max_per_config, options.drop_factor);
  }
  return {};
}

}  // namespace

std::vector<RankedChoice> prune_candidates(std::span<const RankedChoice> ranked,
                                           const TunerOptions& options) {
  std::vector<RankedChoice> kept;
  std::map<std::pair<S8GemmFamily, std::string>, size_t> of_config;
  for (const RankedChoice& candidate : ranked) {
    if (kept.size() >= options.max_candidates) break;
    size_t& used = of_config[{candidate.choice.family, candidate.choice.config}];
    if (used >= options.max_per_config) continue;
    ++used;
    kept.push_back(candidate);
  }
  return kept;
}

Expected<TuningRun> tune_s8_gemm(const CudaDevice& device, std::span<const S8GemmShape> shapes,
                                 std::span<const TileConfig> configs, const TunerOptions& options,
                                 const TunerCallbacks& callbacks) {
  INTAGLIO_TRY(check_arguments(options, callbacks));
  const std::vector<S8GemmShape> buckets = distinct_buckets(shapes);
  TuningRun run;
  for (size_t i = 0; i < buckets.size(); ++i) {
    TunedShape result;
    result.shape = buckets[i];
    TunerProgress progress{TunerStage::kDone, buckets[i], i, buckets.size(), 0, 0};
    if (callbacks.is_tuned && callbacks.is_tuned(buckets[i])) {
      result.state = TunedState::kAlreadyTuned;
    } else {
      ShapeTuner tuner(options, callbacks, progress);
      const Status done = tuner.run(rank_s8_gemm(device, buckets[i], configs), result);
      if (!done) {  // only kCancelled gets here
        run.cancelled = true;
        return run;
      }
      if (result.state == TunedState::kTuned && callbacks.save) {
        INTAGLIO_TRY(callbacks.save({result.shape, result.best, result.median_ms}));
      }
    }
    if (callbacks.finished) callbacks.finished(result);
    run.shapes.push_back(std::move(result));
    if (callbacks.progress) callbacks.progress(progress);
  }
  return run;
}

}  // namespace intaglio::cuda
