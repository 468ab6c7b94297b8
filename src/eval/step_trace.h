// Where a candidate's arithmetic departs from its source's: step by step, linear by linear.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/status.h"
#include "models/pass_runner.h"

namespace intaglio {

// Relative errors ||candidate - source|| / ||source||, one a step.
struct LinearTrace {
  std::string transformer;         // Model::transformer_name
  std::vector<std::string> names;  // of the linears that run as one product
  // Of its output, where both networks have read the same latents; over the rows that are looked
  // at, of all passes of the step. nullopt: the step does not run it. What runs once a picture, on
  // the text, belongs to the first step.
  std::vector<std::optional<double>> output;
};
struct StepTrace {
  std::vector<double> velocity;  // weighted over the passes, at the source's latents
  std::vector<double> drift;     // of the latents behind the step, each at its own
  std::vector<LinearTrace> linears;
};

inline constexpr int64_t kTracedRows = 64;  // of each linear's output, evenly spread

// Both draw the picture of `noise`, [tokens, channels], by the same steps. kUnsupported where
// schedules or linears differ; kUnsupported, too, where a velocity is not finite. A limit on guided
// velocities (Sampling::velocity_limit) is passed over.
Expected<StepTrace> trace_steps(PassRunner& source, const PassRunner::Texts& source_texts,
                                PassRunner& candidate, const PassRunner::Texts& candidate_texts,
                                std::span<const float> noise);

}  // namespace intaglio
