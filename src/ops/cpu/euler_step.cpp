#include <algorithm>
#include <atomic>
#include <cmath>

#include "core/finite.h"
#include "core/parallel.h"
#include "ops/euler_step_implementations.h"

namespace intaglio::cpu {
namespace {

// Values a thread takes at once: long enough to hide the hand-out, short enough to balance.
constexpr int64_t kGrain = 1 << 14;
// Values of the velocity that are made before they are used: they stay in L1.
constexpr int64_t kBlock = 1024;

// v[j] = the velocity of value first + j.
void sum_velocities(std::span<const WeightedVelocity> passes, int64_t first, int64_t count,
                    float* v) {
  for (int64_t j = 0; j < count; ++j) v[j] = passes[0].weight * passes[0].velocity[first + j];
  for (const WeightedVelocity& pass : passes.subspan(1)) {
    for (int64_t j = 0; j < count; ++j) v[j] += pass.weight * pass.velocity[first + j];
  }
}

// use(first, count, v) for [begin, end) in blocks.
template <typename Use>
void each_velocity_block(std::span<const WeightedVelocity> passes, int64_t begin, int64_t end,
                         Use&& use) {
  float v[kBlock];
  for (int64_t first = begin; first < end; first += kBlock) {
    const int64_t count = std::min(kBlock, end - first);
    sum_velocities(passes, first, count, v);
    use(first, count, static_cast<const float*>(v));
  }
}

// Sums of squares over a stretch of values, of a reference and of the velocity.
struct SquareSums {
  double of_reference = 0.0, of_velocity = 0.0;

  double ratio() const { return std::sqrt(of_reference / of_velocity); }
};

SquareSums sum_squares(std::span<const WeightedVelocity> passes, int reference, int64_t begin,
                       int64_t end) {
  const float* const of_pass = passes[static_cast<size_t>(reference)].velocity;
  SquareSums sums;
  each_velocity_block(passes, begin, end, [&](int64_t first, int64_t count, const float* v) {
    for (int64_t j = 0; j < count; ++j) {
      const auto r = static_cast<double>(of_pass[first + j]);
      const auto s = static_cast<double>(v[j]);
      sums.of_reference += r * r;
      sums.of_velocity += s * s;
    }
  });
  return sums;
}

bool are_finite(const float* values, int64_t begin, int64_t end) {
  return all_finite({values + begin, static_cast<size_t>(end - begin)});
}

}  // namespace

Status euler_step(const Context& context, const EulerStep& step) {
  const bool by_row = step.factor != nullptr && step.factor_cols > 0;
  const float factor = step.factor == nullptr ? 1.0f : *step.factor;
  std::atomic<uint32_t> found = 0;
  parallel_for(context.threads, step.count, kGrain, [&](int64_t begin, int64_t end, int) {
    each_velocity_block(step.passes, begin, end, [&](int64_t first, int64_t count, const float* v) {
      float* const x = step.x + first;
      for (int64_t j = 0; !by_row && j < count; ++j) x[j] -= step.delta * (factor * v[j]);
      for (int64_t j = 0; by_row && j < count; ++j)
        x[j] -= step.delta * (step.factor[(first + j) / step.factor_cols] * v[j]);
    });
    // Whatever is wrong with a velocity is wrong with the new latents too, so only they are looked
    // at where all is well.
    if (are_finite(step.x, begin, end)) return;
    uint32_t bits = kLatentsNotFinite;
    for (size_t pass = 0; pass < step.passes.size(); ++pass) {
      if (!are_finite(step.passes[pass].velocity, begin, end))
        bits |= pass_not_finite(static_cast<int>(pass));
    }
    found |= bits;
  });
  if (found != 0 && step.not_finite != nullptr) *step.not_finite |= found;
  return {};
}

// By one thread: two additions a value, less than a millisecond for the latents of a picture.
Status limit_velocity_norm(const Context&, const LimitVelocityNorm& limit) {
  const SquareSums sums = sum_squares(limit.passes, limit.reference, 0, limit.count);
  const double ratio = static_cast<double>(limit.limit) * sums.ratio();
  *limit.factor = sums.of_velocity == 0.0 || ratio >= 1.0 ? 1.0f : static_cast<float>(ratio);
  return {};
}

Status match_row_norms(const Context& context, const MatchRowNorms& match) {
  const int64_t grain = std::max<int64_t>(kGrain / match.cols, 1);
  parallel_for(context.threads, match.rows, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      const SquareSums sums =
          sum_squares(match.passes, match.reference, row * match.cols, (row + 1) * match.cols);
      match.factor[row] = sums.of_velocity == 0.0 ? 1.0f : static_cast<float>(sums.ratio());
    }
  });
  return {};
}

}  // namespace intaglio::cpu
