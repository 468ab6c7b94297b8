// The sampler's step over the velocities of one pass or several, and a limit on their sum.
//
//   v[i] = sum over the passes, in the order given, of weight * velocity[i]
//
// F32, each product and each sum rounded. All pointers are memory of the context's device; the span
// itself is read before the call returns.
#pragma once

#include <cstdint>
#include <span>

#include "core/context.h"
#include "core/status.h"
#include "ops/op_list.h"

namespace intaglio {

inline constexpr int kMaxPasses = 4;

struct WeightedVelocity {
  const float* velocity = nullptr;  // [count]
  float weight = 1.0f;
};

// Bits of EulerStep::not_finite: bit i for the velocity of pass i, and one for the new latents.
constexpr uint32_t pass_not_finite(int pass) { return uint32_t{1} << pass; }
inline constexpr uint32_t kLatentsNotFinite = uint32_t{1} << 31;

// x[i] -= delta * (factor[i / factor_cols] * v[i]), F32. Guidance g over a and b is {a, g},
// {b, 1 - g}.
// An Inf or a NaN in a velocity, whatever its weight, makes the latent there not finite.
struct EulerStep {
  float* x = nullptr;  // [count]
  int64_t count = 0;
  std::span<const WeightedVelocity> passes;  // 1 to kMaxPasses
  float delta = 0.0f;                        // sigma of the next step minus that of this one
  const float* factor = nullptr;             // nullptr: 1
  int64_t factor_cols = 0;                   // values that share a factor; 0: all
  // One word, or nullptr: bits are added for velocities and for new latents that hold an Inf or a
  // NaN. It is not written where all is well.
  uint32_t* not_finite = nullptr;
};
OpList<EulerStep> euler_step_implementations();  // "cuda_", "cpu_", "ref_euler_step"
Status euler_step(const Context& context, const EulerStep& step);

// *factor = min(1, limit * |velocity of passes[reference]| / |v|), 1 where |v| is 0. The norms are
// Euclidean over all values; squares are summed in F64, in an order that depends on `count` alone.
// An Inf or a NaN in a velocity gives 0 or NaN: a step by it finds the pass.
struct LimitVelocityNorm {
  std::span<const WeightedVelocity> passes;  // 1 to kMaxPasses
  int64_t count = 0;
  int reference = 0;
  float limit = 1.0f;       // at least 0
  float* factor = nullptr;  // one value
};
OpList<LimitVelocityNorm>
limit_velocity_norm_implementations();  // "cuda_", "cpu_", "ref_limit_velocity_norm"
Status limit_velocity_norm(const Context& context, const LimitVelocityNorm& limit);

// factor[r] = |row r of passes[reference]| / |row r of v|, 1 where the latter is 0: with it every
// row of v is as long as that of the reference. Euclidean, squares are summed in F64. An Inf or a
// NaN in a row of a velocity gives 0, Inf or NaN: a step by it finds the pass.
struct MatchRowNorms {
  std::span<const WeightedVelocity> passes;  // 1 to kMaxPasses, [rows, cols] dense
  int64_t rows = 0, cols = 0;
  int reference = 0;
  float* factor = nullptr;  // [rows]
};
OpList<MatchRowNorms> match_row_norms_implementations();  // "cuda_", "cpu_", "ref_match_row_norms"
Status match_row_norms(const Context& context, const MatchRowNorms& match);

}  // namespace intaglio
