// What the CUDA kernels of the sampling step take: plain numbers and device pointers. Host and
// device. Formulas and edge cases: ops/euler_step.h.
#pragma once

#include <cstdint>

namespace intaglio::cuda {

inline constexpr int kMaxPasses = 4;

// v[i] = weight[0] * velocity[0][i] + weight[1] * velocity[1][i] + ..., in this order.
struct PassesParams {
  const float* velocity[kMaxPasses] = {};  // [count] each
  float weight[kMaxPasses] = {};
  int32_t passes = 0;  // 1 to kMaxPasses
  int64_t count = 0;
};

// Bits of EulerStepParams::not_finite: bit i for the velocity of pass i, this one for the latents.
inline constexpr uint32_t kLatentsNotFinite = uint32_t{1} << 31;

// x[i] -= delta * (factor[i / factor_cols] * v[i])
struct EulerStepParams {
  PassesParams v;
  float* x = nullptr;  // [count]
  float delta = 0.0f;
  const float* factor = nullptr;  // device memory, or nullptr: 1
  // Device memory, one word, or nullptr: bits are added for a velocity, and for new latents, that
  // hold an Inf or a NaN. Nothing is written where all is well.
  uint32_t* not_finite = nullptr;
  int64_t factor_cols = 0;  // values that share a factor; 0: all
};

// *factor = min(1, limit * |velocity[reference]| / |v|), 1 where |v| is 0; squares are summed in
// float64 in a fixed order. By one block: latents of a picture are few.
struct LimitVelocityNormParams {
  PassesParams v;
  int32_t reference = 0;
  float limit = 1.0f;
  float* factor = nullptr;  // device memory, one value
};

// factor[r] = |row r of velocity[reference]| / |row r of v|, 1 where the latter is 0; squares are
// summed in float64 in a fixed order, a warp a row.
struct MatchRowNormsParams {
  PassesParams v;  // count = rows * cols
  int64_t rows = 0, cols = 0;
  int32_t reference = 0;
  float* factor = nullptr;  // device memory, [rows]
};

}  // namespace intaglio::cuda
