// `--parallel auto`: what several GPUs do of a step, by advice/split_model.h.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "advice/split_model.h"
#include "advice/step_shape.h"
#include "core/status.h"
#include "pipeline/pipeline.h"

namespace intaglio {

// One way to take a step: with the rows of a pass on `ranks` cards, `second`: those of the second
// pass on as many others.
struct WayOfStep {
  int ranks = 1;
  bool second = false;
  double step_ms = 0.0;
  std::string name() const;  // "one GPU", "a pass each", "ulysses on 4", "cfg+ulysses on 4"
};

// What a step computes, and what of it may be shared.
struct SharedStep {
  PassShape first, other;  // passes, each of which runs as often as `passes` says
  StepShape passes;
  SharedHeads heads;   // no key heads: rows are not shared
  int64_t values = 0;  // of latents
};

// The ways that there are with so many cards, the fastest first.
std::vector<WayOfStep> ways_of_step(const CardRates& card, const LinkRates& link,
                                    const SharedStep& step, Precision precision, int cards);

struct ChosenParallel {
  PipelineOptions options;
  std::string reason;  // for people
};

// `options` with those of `gpus` beside options.gpu that the fastest way takes whose picture fits,
// for a picture of `request` at options.selection.precision. Of cards that are not alike the
// slowest counts. If none fits the error is that of the fastest.
Expected<ChosenParallel> choose_parallel(const std::shared_ptr<const Model>& model,
                                         const PipelineOptions& options, std::span<const int> gpus,
                                         const PictureRequest& request);

}  // namespace intaglio
