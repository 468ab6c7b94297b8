// Finds, for a budget of computed passes, the step mask whose latents come nearest to those of all
// passes: simulated annealing over masks, each judged by drawing with it.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/status.h"
#include "models/step_mask.h"
#include "pipeline/pipeline.h"

namespace intaglio {

struct MaskSearch {
  double budget = 0.5;        // StepMask::cost, at most
  int64_t first_blocks = 1;   // that a reused pass computes
  int64_t evaluations = 200;  // masks that are drawn with
  uint64_t seed = 0;          // of the search
  // Called before each evaluation with their number and the least error so far; may be empty.
  std::function<void(int64_t done, double error)> progress{};
};

// Latents by a mask against those of all passes: root of the mean over pictures of the squared
// relative error.
class MaskJudge {
 public:
  // `requests` of one schedule and size. The pipeline outlives it.
  MaskJudge(Pipeline& pipeline, std::vector<PictureRequest> requests,
            const std::atomic<bool>* cancel)
      : pipeline_(pipeline), requests_(std::move(requests)), cancel_(cancel) {}

  // Draws the pictures with all their passes, and plans them for masks.
  Status begin();
  const Sampling& sampling() const { return plans_.front().sampling; }
  // kInvalidArgument for a mask of other steps, or one that reuses what it has not computed.
  Expected<double> error(const StepMask& mask);

 private:
  Pipeline& pipeline_;
  std::vector<PictureRequest> requests_;
  const std::atomic<bool>* cancel_;
  std::vector<PicturePlan> plans_;  // of the requests, with room for any mask
  std::vector<std::vector<float>> whole_;
};

struct FoundMask {
  StepMask mask;            // its error is that of the judge's pictures
  int64_t evaluations = 0;  // that it is the best of
  bool cancelled = false;   // before all were done
};
// `judge` has begun; `blocks`: Model::cached_blocks. What was found before a
// cancellation is returned; kCancelled where that is nothing. kInvalidArgument for a budget that
// does not compute two steps of each pass, and for as many first blocks as a pass has.
Expected<FoundMask> search_step_mask(MaskJudge& judge, std::span<const int64_t> blocks,
                                     const MaskSearch& search);

}  // namespace intaglio
