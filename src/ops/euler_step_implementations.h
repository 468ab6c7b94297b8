// The kernels behind the lists of ops/euler_step.h on CPUs.
#pragma once

#include "ops/euler_step.h"

namespace intaglio {

namespace cpu {
Status euler_step(const Context& context, const EulerStep& step);
Status limit_velocity_norm(const Context& context, const LimitVelocityNorm& limit);
Status match_row_norms(const Context& context, const MatchRowNorms& match);
}  // namespace cpu

namespace ref {
Status euler_step(const Context& context, const EulerStep& step);
Status limit_velocity_norm(const Context& context, const LimitVelocityNorm& limit);
Status match_row_norms(const Context& context, const MatchRowNorms& match);
}  // namespace ref

}  // namespace intaglio
