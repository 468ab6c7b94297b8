// Noise levels that several models share (diffusers' FlowMatchEulerDiscreteScheduler).
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/status.h"
#include "io/json_config.h"
#include "models/parts/config_notes.h"

namespace intaglio {

// What the sampler integrates over: shift * s / (1 + (shift - 1) * s) of each, then a final 0;
// one value more.
std::vector<float> shifted_sigmas(const std::vector<float>& sigmas, double shift);

// Of scheduler_config.json.
struct FlowMatchScheduler {
  double shift = 1.0;  // without dynamic shifting
  // mu on a line through two lengths of the sequence, not clamped.
  bool dynamic = false;
  double base_shift = 0.5, max_shift = 1.15;
  int64_t base_tokens = 256, max_tokens = 4096;
  bool linear = false;    // mu itself shifts, else exp(mu)
  double terminal = 0.0;  // the last level is stretched to this; 0: not
};
// `scheduler`, or one of a fixed `shift`.
inline FlowMatchScheduler with_shift(const FlowMatchScheduler& scheduler,
                                     std::optional<double> shift) {
  return shift ? FlowMatchScheduler{.shift = *shift} : scheduler;
}
Expected<FlowMatchScheduler> read_flow_match_scheduler(const JsonConfig& json);
// Every key of that file, and what it means here.
const ConfigTable& flow_match_scheduler_keys();

// u = 1, 1 - 1 / steps, .., 1 / steps, as float32, each shifted:
//   static   shift u / (1 + (shift - 1) u)
//   dynamic  m / (m + 1 / u - 1), m = exp(mu) or mu, mu on the line at `image_tokens`
// then stretched, s = 1 - (1 - s) (1 - terminal) / (1 - s_last), then a final 0.
std::vector<float> flow_match_sigmas(const FlowMatchScheduler& scheduler, int64_t steps,
                                     int64_t image_tokens);
// The same with a mu that the model has of its own.
std::vector<float> flow_match_sigmas_at(const FlowMatchScheduler& scheduler, int64_t steps,
                                        double mu);

}  // namespace intaglio
