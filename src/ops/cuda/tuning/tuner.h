// The search for the fastest int8 GEMM kernel of each shape. Knows no CUDA: what runs, checks and
// keeps results is handed in.
//
// Of each shape the candidates with the shortest predicted times are tried, at most a few of one
// config. Each is checked once, then all are timed in turn, round by round, so that a change of
// clock or temperature meets all of them; the smallest median wins.
#pragma once

#include <atomic>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "core/status.h"
#include "ops/cuda/tuning/s8_gemm_heuristic.h"
#include "ops/cuda/tuning/tuning_table.h"

namespace intaglio::cuda {

struct TunerOptions {
  int rounds = 9;
  size_t max_candidates = 12;
  size_t max_per_config = 3;  // bands and splits of one config: they differ little from each other
  // After this many rounds a candidate whose fastest round is slower than the best median times
  // `drop_factor` is not timed again.
  int rounds_before_drop = 2;
  double drop_factor = 1.25;
  const std::atomic<bool>* cancel = nullptr;  // looked at between measurements
};

enum class TunerStage { kPrepare, kCheck, kMeasure, kDone };

struct TunerProgress {
  TunerStage stage = TunerStage::kPrepare;
  S8GemmShape shape;
  size_t shape_index = 0, shape_count = 0;
  size_t step = 0, steps = 0;  // of the stage
};

struct TunedShape;

struct TunerCallbacks {
  // May be empty: shapes that need no preparation.
  std::function<Status(const S8GemmShape&)> prepare;
  // Is the result right? Called once a candidate, before its first timing.
  std::function<Status(const S8GemmChoice&, const S8GemmShape&)> check;
  // One timed round in ms.
  std::function<Expected<double>(const S8GemmChoice&, const S8GemmShape&)> measure;
  // Keeps a result; called after each shape, so that a run that stops goes on where it was. May be
  // empty.
  std::function<Status(const TuningEntry&)> save;
  // True for shapes that need no tuning any more. May be empty.
  std::function<bool(const S8GemmShape&)> is_tuned;
  std::function<void(const TunerProgress&)> progress;  // may be empty
  std::function<void(const TunedShape&)> finished;     // after save; may be empty
};

struct TunedCandidate {
  S8GemmChoice choice;
  double predicted_ms = 0;
  std::vector<double> times_ms;
  double median_ms = 0;  // 0: never timed
  bool wrong = false;    // its result was not right: a bug of the kernel
  // Why it was left out: wrong result, launch refused; empty if it ran to the end or was dropped as
  // slow
  std::string problem;
};

enum class TunedState { kTuned, kAlreadyTuned, kFailed };

struct TunedShape {
  S8GemmShape shape;  // bucketed
  TunedState state = TunedState::kFailed;
  S8GemmChoice best;
  double median_ms = 0;
  double heuristic_ms =
      0;  // median of the choice that would have been used untuned; 0 if it was not timed
  std::vector<TunedCandidate> candidates;
  std::string problem;  // of kFailed
};

struct TuningRun {
  std::vector<TunedShape> shapes;
  bool cancelled = false;  // the shapes so far are tuned and saved
};

// The candidates that are worth measuring, by predicted time.
std::vector<RankedChoice> prune_candidates(std::span<const RankedChoice> ranked,
                                           const TunerOptions& options);

// Tunes the buckets of `shapes`, each once. A shape that fails does not stop the others.
// Errors: kInvalidArgument for missing callbacks or options out of range; what `save` returns.
Expected<TuningRun> tune_s8_gemm(const CudaDevice& device, std::span<const S8GemmShape> shapes,
                                 std::span<const TileConfig> configs, const TunerOptions& options,
                                 const TunerCallbacks& callbacks);

}  // namespace intaglio::cuda
