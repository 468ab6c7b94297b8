// What the steps of a picture compute: how many passes, and of what size.
#pragma once

#include <cstdint>
#include <span>

#include "advice/cost_model.h"
#include "core/status.h"
#include "models/model.h"

namespace intaglio {

struct StepShape {
  int64_t text_tokens = 0, image_tokens = 0;
  // Passes a step in the mean of all steps: of the first transformer with the prompt, and of the
  // others. Less than 1 where a mask or the guidance leaves some out.
  double first = 1.0, other = 1.0;
  // Of these, what the same steps compute of both: a mask may skip them in turn.
  double both = 1.0;
};
// Of a picture of that sampling, by its mask; `blocks`: Model::cached_blocks.
StepShape step_shape(const Sampling& sampling, std::span<const int64_t> blocks);
// Of a request, whose prompt becomes its `token_ids`; a guided step where plans would refuse it.
Expected<StepShape> step_shape(const Model& model, PictureRequest& request);

// A pass of such steps: of the first transformer with the text, or of the last without one or with
// another.
PassShape pass_shape(const Model& model, const StepShape& step, bool first);

}  // namespace intaglio
