#include <algorithm>
#include <cmath>

#include "ops/euler_step_implementations.h"

namespace intaglio::ref {
namespace {

double velocity_at(std::span<const WeightedVelocity> passes, int64_t i) {
  double v = 0.0;
  for (const WeightedVelocity& pass : passes)
    v += static_cast<double>(pass.weight) * static_cast<double>(pass.velocity[i]);
  return v;
}

}  // namespace

Status euler_step(const Context&, const EulerStep& step) {
  uint32_t found = 0;
  for (int64_t i = 0; i < step.count; ++i) {
    const int64_t row = step.factor_cols == 0 ? 0 : i / step.factor_cols;
    const double factor = step.factor == nullptr ? 1.0 : static_cast<double>(step.factor[row]);
    step.x[i] =
        static_cast<float>(static_cast<double>(step.x[i]) -
                           static_cast<double>(step.delta) * factor * velocity_at(step.passes, i));
    if (!std::isfinite(step.x[i])) found |= kLatentsNotFinite;
    for (size_t pass = 0; pass < step.passes.size(); ++pass) {
      if (!std::isfinite(step.passes[pass].velocity[i]))
        found |= pass_not_finite(static_cast<int>(pass));
    }
  }
  if (found != 0 && step.not_finite != nullptr) *step.not_finite |= found;
  return {};
}

Status limit_velocity_norm(const Context&, const LimitVelocityNorm& limit) {
  double of_reference = 0.0, of_sum = 0.0;
  for (int64_t i = 0; i < limit.count; ++i) {
    const double r =
        static_cast<double>(limit.passes[static_cast<size_t>(limit.reference)].velocity[i]);
    const double v = velocity_at(limit.passes, i);
    of_reference += r * r;
    of_sum += v * v;
  }
  const double ratio =
      static_cast<double>(limit.limit) * std::sqrt(of_reference) / std::sqrt(of_sum);
  *limit.factor = of_sum == 0.0 || ratio >= 1.0 ? 1.0f : static_cast<float>(ratio);
  return {};
}

Status match_row_norms(const Context&, const MatchRowNorms& match) {
  const float* const reference = match.passes[static_cast<size_t>(match.reference)].velocity;
  for (int64_t row = 0; row < match.rows; ++row) {
    double of_reference = 0.0, of_sum = 0.0;
    for (int64_t i = row * match.cols; i < (row + 1) * match.cols; ++i) {
      const auto r = static_cast<double>(reference[i]);
      const double v = velocity_at(match.passes, i);
      of_reference += r * r;
      of_sum += v * v;
    }
    match.factor[row] =
        of_sum == 0.0 ? 1.0f : static_cast<float>(std::sqrt(of_reference) / std::sqrt(of_sum));
  }
  return {};
}

}  // namespace intaglio::ref
