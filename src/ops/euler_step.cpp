#include "ops/euler_step.h"

#include "ops/cuda/euler_step.h"
#include "ops/euler_step_implementations.h"

namespace intaglio {
namespace {

Status check_reference(std::string_view op, int reference, size_t passes) {
  if (reference >= 0 && reference < static_cast<int>(passes)) return {};
  return make_error(ErrorCode::kInvalidArgument, "{}: reference pass {} of {} passes", op,
                    reference, passes);
}

Status check_passes(std::string_view op, std::span<const WeightedVelocity> passes, int64_t count) {
  if (passes.empty() || passes.size() > kMaxPasses) {
    return make_error(ErrorCode::kInvalidArgument, "{}: {} passes; expected 1 to {}", op,
                      passes.size(), kMaxPasses);
  }
  if (count < 0)
    return make_error(ErrorCode::kInvalidArgument, "{}: {} values; expected 0 or more", op, count);
  for (size_t i = 0; count > 0 && i < passes.size(); ++i) {
    if (passes[i].velocity == nullptr)
      return make_error(ErrorCode::kInvalidArgument, "{}: the velocity of pass {} is null", op, i);
  }
  return {};
}

std::string describe_passes(std::span<const WeightedVelocity> passes, int64_t count) {
  return fmt::format("{} {} of {} values", passes.size(), passes.size() == 1 ? "pass" : "passes",
                     count);
}

constexpr auto kEulerStep = op_list<OpImplementation<EulerStep>>(
    GpuEntry<cuda::op::euler_step_refusal, cuda::op::euler_step>{"cuda_euler_step"},
    {{"cpu_euler_step", takes_all, cpu::euler_step},
     {"ref_euler_step", takes_all, ref::euler_step}});

constexpr auto kLimitVelocityNorm = op_list<OpImplementation<LimitVelocityNorm>>(
    GpuEntry<cuda::op::limit_velocity_norm_refusal, cuda::op::limit_velocity_norm>{
        "cuda_limit_velocity_norm"},
    {{"cpu_limit_velocity_norm", takes_all, cpu::limit_velocity_norm},
     {"ref_limit_velocity_norm", takes_all, ref::limit_velocity_norm}});

constexpr auto kMatchRowNorms = op_list<OpImplementation<MatchRowNorms>>(
    GpuEntry<cuda::op::match_row_norms_refusal, cuda::op::match_row_norms>{"cuda_match_row_norms"},
    {{"cpu_match_row_norms", takes_all, cpu::match_row_norms},
     {"ref_match_row_norms", takes_all, ref::match_row_norms}});

}  // namespace

OpList<EulerStep> euler_step_implementations() { return kEulerStep; }

Status euler_step(const Context& context, const EulerStep& step) {
  INTAGLIO_TRY(check_passes("euler_step", step.passes, step.count));
  if (step.count > 0 && step.x == nullptr)
    return make_error(ErrorCode::kInvalidArgument, "euler_step: x is null");
  if (step.factor_cols < 0)
    return make_error(ErrorCode::kInvalidArgument, "euler_step: factor_cols {}; expected 0 or more",
                      step.factor_cols);
  return run_first(OpName{"euler_step", "a sampling step"}, euler_step_implementations(), context,
                   step, [](const EulerStep& s) { return describe_passes(s.passes, s.count); });
}

OpList<LimitVelocityNorm> limit_velocity_norm_implementations() { return kLimitVelocityNorm; }

Status limit_velocity_norm(const Context& context, const LimitVelocityNorm& limit) {
  INTAGLIO_TRY(check_passes("limit_velocity_norm", limit.passes, limit.count));
  INTAGLIO_TRY(check_reference("limit_velocity_norm", limit.reference, limit.passes.size()));
  if (!(limit.limit >= 0.0f)) {
    return make_error(ErrorCode::kInvalidArgument,
                      "limit_velocity_norm: limit {}; expected 0 or more", limit.limit);
  }
  if (limit.factor == nullptr)
    return make_error(ErrorCode::kInvalidArgument, "limit_velocity_norm: factor is null");
  return run_first(OpName{"limit_velocity_norm", "a limit on the norm of a velocity"},
                   limit_velocity_norm_implementations(), context, limit,
                   [](const LimitVelocityNorm& l) { return describe_passes(l.passes, l.count); });
}

OpList<MatchRowNorms> match_row_norms_implementations() { return kMatchRowNorms; }

Status match_row_norms(const Context& context, const MatchRowNorms& match) {
  if (match.rows < 0 || match.cols < 1)
    return make_error(ErrorCode::kInvalidArgument,
                      "match_row_norms: {} rows of {} values; expected 0 or more of 1 or more",
                      match.rows, match.cols);
  INTAGLIO_TRY(check_passes("match_row_norms", match.passes, match.rows * match.cols));
  INTAGLIO_TRY(check_reference("match_row_norms", match.reference, match.passes.size()));
  if (match.rows > 0 && match.factor == nullptr)
    return make_error(ErrorCode::kInvalidArgument, "match_row_norms: factor is null");
  return run_first(OpName{"match_row_norms", "the norms of a velocity's rows"},
                   match_row_norms_implementations(), context, match, [](const MatchRowNorms& m) {
                     return describe_passes(m.passes, m.rows * m.cols);
                   });
}

}  // namespace intaglio
