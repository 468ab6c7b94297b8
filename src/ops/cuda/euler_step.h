// ops/euler_step.h on a GPU.
#pragma once

#include "ops/euler_step.h"

namespace intaglio::cuda::op {

Refusal euler_step_refusal(const EulerStep& step, const Context& context);
Status euler_step(const Context& context, const EulerStep& step);
Refusal limit_velocity_norm_refusal(const LimitVelocityNorm& limit, const Context& context);
Status limit_velocity_norm(const Context& context, const LimitVelocityNorm& limit);
Refusal match_row_norms_refusal(const MatchRowNorms& match, const Context& context);
Status match_row_norms(const Context& context, const MatchRowNorms& match);

}  // namespace intaglio::cuda::op
