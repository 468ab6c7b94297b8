// Which passes of a picture's steps are computed, and what takes the place of the others: decided
// before the picture, so that its time is known and its passes can be recorded.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "io/json_config.h"

namespace intaglio {

struct Sampling;

enum class PassWork : uint8_t {
  kCompute,
  // The first blocks are computed, the others add what they added when the pass was last computed.
  kReuse,
  // Nothing is computed: the velocity is that of a polynomial in the model's time through the last
  // computed ones.
  kPredict,
};

struct StepMask {
  static constexpr int64_t kMaxOrder = 2;

  std::string name = {};
  int64_t first_blocks = 1;  // that kReuse computes
  int64_t order = 1;         // of kPredict's polynomial, as far as there are computed velocities
  std::vector<std::vector<PassWork>> passes;  // by pass, one a step
  // Of the schedule it was made for, and its error there; empty and 0: of none.
  std::string preset = {};
  double error = 0.0;

  int64_t steps() const { return static_cast<int64_t>(passes.front().size()); }
  bool uses(size_t pass, PassWork work) const;
  bool uses(PassWork work) const;
  // Passes computed, of those that have a weight in `sampling`; kReuse counts as first_blocks of
  // those that `blocks` says of the pass's transformer (Model::cached_blocks).
  double cost(const Sampling& sampling, std::span<const int64_t> blocks) const;
  bool operator==(const StepMask&) const = default;
};

// "XXr.X": computed, reused, predicted; kBadFormat else. And back.
Expected<std::vector<PassWork>> parse_pass_work(std::string_view text);
std::string pass_work_text(std::span<const PassWork> work);
std::vector<std::string> pass_work_texts(const StepMask& mask);

// Steps in which a pass has a weight.
std::vector<size_t> active_steps(const Sampling& sampling, size_t pass);

// What becomes of a pass in the steps in which it has a weight.
struct PassCounts {
  int64_t computed = 0, reused = 0, predicted = 0;

  int64_t all() const { return computed + reused + predicted; }
  // In passes of `blocks` blocks, of which a reused one computes `first_blocks`.
  double passes(int64_t first_blocks, int64_t blocks) const;
};
// Of each pass of a picture; `mask` may be null: all are computed.
std::vector<PassCounts> pass_counts(const Sampling& sampling, const StepMask* mask);
// In passes, by pass, as the sampling's own mask has it; `blocks` as StepMask::cost takes them.
std::vector<double> computed_passes(const Sampling& sampling, std::span<const int64_t> blocks);
// The cost of the sampling's own mask; 1 without one.
double computed_share(const Sampling& sampling, std::span<const int64_t> blocks);

// kInvalidArgument unless the mask is of so many steps and passes, and every pass is computed
// before it is reused or predicted.
Status check_step_mask(const StepMask& mask, const Sampling& sampling);

// Of each pass as many steps as its share of `budget` allows are computed, at least its first and
// its last: `dense` of them one after the other from the first on, the others evenly spread over
// the rest. The others are predicted. By default the first half: latents change their direction
// most in the beginning.
std::vector<PassWork> spread_work(size_t all, std::span<const size_t> steps, size_t count,
                                  double dense);
StepMask spread_step_mask(const Sampling& sampling, double budget, int64_t order = 1,
                          double dense = 0.5);

// What "off" or nothing, the name of one of `masks`, or a budget between 0 and 1 means for a
// picture of this sampling. A budget: the mask of so many steps that costs the most of those within
// it and not a tenth less, else a spread one. kInvalidArgument starting with "cache".
Expected<std::optional<StepMask>> choose_step_mask(std::span<const StepMask> masks,
                                                   const Sampling& sampling,
                                                   std::span<const int64_t> blocks,
                                                   std::string_view cache);

// `step_masks.json` beside a model: {"masks": [{"name", "steps", "passes": ["XX.X", ...],
// "first_blocks", "order", "preset", "error"}]}.
inline constexpr const char* kStepMaskFile = "step_masks.json";
Expected<std::vector<StepMask>> read_step_masks(const JsonConfig& file);
std::string step_masks_text(std::span<const StepMask> masks);

}  // namespace intaglio
