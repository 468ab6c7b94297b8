// `intaglio eval run`: draws what a plan asks for and measures it.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/status.h"
#include "eval/eval_folder.h"
#include "eval/variant.h"
#include "progress.h"

namespace intaglio::cli {

struct EvalRun {
  const EvalFolder& folder;
  std::vector<Variant> variants;  // of this run; the source is the first
  EvalShard shard;
  std::optional<int> gpu;
  int threads = 0;
};

// What of the variants cannot be drawn, known before any work: their models, settings and adapters,
// the device. No weight is read.
Status check_variants(const EvalPlan& plan, const std::vector<Variant>& variants,
                      std::optional<int> gpu, int threads);

// What the run did, beside what it found done.
struct EvalCounts {
  int64_t pictures = 0, traces = 0;
};

// Draws every picture of the shard that has no record yet, variant by variant, then traces. Each is
// recorded once it is whole, so that the same call goes on where one was stopped. kInvalidArgument
// for a variant whose model is another than when it was begun; kCancelled at the first signal.
Expected<EvalCounts> run_eval(const EvalRun& run, Progress& progress);

}  // namespace intaglio::cli
