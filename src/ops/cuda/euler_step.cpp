#include "ops/cuda/euler_step.h"

#include "core/cuda/device.h"
#include "ops/cuda/launch/euler_step.h"
#include "ops/cuda/stream.h"

namespace intaglio::cuda::op {
namespace {

static_assert(intaglio::kMaxPasses == cuda::kMaxPasses &&
              intaglio::kLatentsNotFinite == cuda::kLatentsNotFinite);
PassesParams passes_params(std::span<const WeightedVelocity> passes, int64_t count) {
  PassesParams p;
  p.passes = static_cast<int32_t>(passes.size());
  p.count = count;
  for (size_t i = 0; i < passes.size(); ++i) {
    p.velocity[i] = passes[i].velocity;
    p.weight[i] = passes[i].weight;
  }
  return p;
}

EulerStepParams params(const EulerStep& s) {
  return {.v = passes_params(s.passes, s.count),
          .x = s.x,
          .delta = s.delta,
          .factor = s.factor,
          .not_finite = s.not_finite,
          .factor_cols = s.factor_cols};
}

LimitVelocityNormParams params(const LimitVelocityNorm& l) {
  return {.v = passes_params(l.passes, l.count),
          .reference = l.reference,
          .limit = l.limit,
          .factor = l.factor};
}

MatchRowNormsParams params(const MatchRowNorms& m) {
  return {.v = passes_params(m.passes, m.rows * m.cols),
          .rows = m.rows,
          .cols = m.cols,
          .reference = m.reference,
          .factor = m.factor};
}

}  // namespace

Refusal euler_step_refusal(const EulerStep& step, const Context&) {
  return cuda::euler_step_refusal(params(step));
}

Status euler_step(const Context& context, const EulerStep& step) {
  return device_status(cuda::euler_step(params(step), stream_of(context)), "a sampling step");
}

Refusal limit_velocity_norm_refusal(const LimitVelocityNorm& limit, const Context&) {
  return cuda::limit_velocity_norm_refusal(params(limit));
}

Status limit_velocity_norm(const Context& context, const LimitVelocityNorm& limit) {
  return device_status(cuda::limit_velocity_norm(params(limit), stream_of(context)),
                       "a limit on the norm of a velocity");
}

Refusal match_row_norms_refusal(const MatchRowNorms& match, const Context&) {
  return cuda::match_row_norms_refusal(params(match));
}

Status match_row_norms(const Context& context, const MatchRowNorms& match) {
  return device_status(cuda::match_row_norms(params(match), stream_of(context)),
                       "the norms of a velocity's rows");
}

}  // namespace intaglio::cuda::op
