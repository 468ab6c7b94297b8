// The sampling step over the velocities of one pass or several, and the limit on their sum.
//
// Formulas and edge cases: ops/euler_step.h. Every architecture from sm_75 runs the same code. The
// step is bound by memory and cut into blocks like the flat passes of elementwise.cuh; the number
// of passes is known to the compiler, so that all their loads are in flight together.
#pragma once

#include "ops/cuda/euler_step_params.h"
#include "ops/cuda/kernels/elementwise.cuh"

namespace intaglio::cuda {

__device__ __forceinline__ bool is_finite(float x) {
  constexpr uint32_t kExponent = 0x7f800000u;
  return (__float_as_uint(x) & kExponent) != kExponent;
}

// Elements of the passes' velocities, [pass].
template <int kPasses>
__device__ __forceinline__ float velocity(const PassesParams& p, const float (&v)[kPasses]) {
  float sum = __fmul_rn(p.weight[0], v[0]);
#pragma unroll
  for (int pass = 1; pass < kPasses; ++pass)
    sum = __fadd_rn(sum, __fmul_rn(p.weight[pass], v[pass]));
  return sum;
}

// Whatever is wrong with a velocity is wrong with `x` too: one comparison an element where all is
// well.
template <int kPasses>
__device__ __forceinline__ uint32_t not_finite_bits(float x, const float (&v)[kPasses]) {
  if (is_finite(x)) return 0;
  uint32_t bits = kLatentsNotFinite;
#pragma unroll
  for (int pass = 0; pass < kPasses; ++pass)
    if (!is_finite(v[pass])) bits |= 1u << pass;
  return bits;
}

template <int kPasses, bool kWhole>
__device__ __forceinline__ void euler_block(const EulerStepParams& p, int64_t first) {
  OperandPieces<F32> raw_x, raw_v[kPasses];
  load_operand<kWhole>(raw_x, p.x, first, p.v.count);
#pragma unroll
  for (int pass = 0; pass < kPasses; ++pass)
    load_operand<kWhole>(raw_v[pass], p.v.velocity[pass], first, p.v.count);
  const bool by_row = p.factor != nullptr && p.factor_cols > 0;
  const float shared_factor = p.factor != nullptr && !by_row ? __ldg(p.factor) : 1.0f;
  uint32_t found = 0;
#pragma unroll
  for (int u = 0; u < kElementUnroll; ++u) {
    const int64_t at = first + u * int64_t{kElementThreads * kRowPiece};
    float x[kRowPiece], pieces[kPasses][kRowPiece];
    unpack_operand(raw_x, u, x);
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) unpack_operand(raw_v[pass], u, pieces[pass]);
#pragma unroll
    for (int i = 0; i < kRowPiece; ++i) {
      float v[kPasses];
#pragma unroll
      for (int pass = 0; pass < kPasses; ++pass) v[pass] = pieces[pass][i];
      const bool there = kWhole || at + i < p.v.count;
      const float factor =
          by_row && there ? __ldg(p.factor + (at + i) / p.factor_cols) : shared_factor;
      x[i] = __fsub_rn(x[i], __fmul_rn(p.delta, __fmul_rn(factor, velocity<kPasses>(p.v, v))));
      if (there) found |= not_finite_bits<kPasses>(x[i], v);
    }
    store_row_piece<kWhole, F32>(p.x, at, kWhole ? kRowPiece : p.v.count - at, x);
  }
  if (found != 0 && p.not_finite != nullptr) atomicOr(p.not_finite, found);
}

// kVector: every array is at a multiple of 16 bytes.
template <int kPasses, bool kVector>
__global__ void __launch_bounds__(kElementThreads)
    euler_step_kernel(const __grid_constant__ EulerStepParams p) {
  const int64_t block = int64_t{blockIdx.x} * kElementsOfBlock;
  const int64_t first = block + int64_t{threadIdx.x} * kRowPiece;
  if (kVector && block + kElementsOfBlock <= p.v.count) {
    euler_block<kPasses, true>(p, first);
  } else {
    euler_block<kPasses, false>(p, first);
  }
}

template <int kPasses>
struct VelocityPieces {
  Piece<F32, kRowPiece> pass[kPasses];
};

inline constexpr int kLimitThreads = 512;

// One block: a fixed order of sums, and no memory of its own. Two float64 additions a value, of
// which a multiprocessor makes two a clock at least: 262144 values take as many clocks at most,
// computed, 0.15 ms.
template <int kPasses, bool kVector>
__global__ void __launch_bounds__(kLimitThreads)
    limit_velocity_norm_kernel(const __grid_constant__ LimitVelocityNormParams p) {
  __shared__ double of_reference[kLimitThreads], of_sum[kLimitThreads];
  double reference = 0.0, sum = 0.0;
  each_row_piece(
      p.v.count,
      [&](int64_t at, int64_t left) {
        VelocityPieces<kPasses> raw;
#pragma unroll
        for (int pass = 0; pass < kPasses; ++pass)
          raw.pass[pass] =
              load_row_piece<kVector, RowRead::kAgain, F32>(p.v.velocity[pass], at, left);
        return raw;
      },
      [&](int64_t, int64_t left, const VelocityPieces<kPasses>& raw) {
        float pieces[kPasses][kRowPiece];
#pragma unroll
        for (int pass = 0; pass < kPasses; ++pass) unpack<F32>(raw.pass[pass], pieces[pass]);
#pragma unroll
        for (int i = 0; i < kRowPiece; ++i) {
          if (i >= left) continue;
          float v[kPasses], r = 0.0f;
#pragma unroll
          for (int pass = 0; pass < kPasses; ++pass) {
            v[pass] = pieces[pass][i];
            if (pass == p.reference) r = v[pass];
          }
          const float s = velocity<kPasses>(p.v, v);
          reference += double{r} * double{r};
          sum += double{s} * double{s};
        }
      });
  const int thread = threadIdx.x;
  of_reference[thread] = reference;
  of_sum[thread] = sum;
  for (int half = kLimitThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (thread >= half) continue;
    of_reference[thread] += of_reference[thread + half];
    of_sum[thread] += of_sum[thread + half];
  }
  if (thread != 0) return;
  const double ratio = double{p.limit} * sqrt(of_reference[0] / of_sum[0]);
  *p.factor = of_sum[0] == 0.0 || ratio >= 1.0 ? 1.0f : static_cast<float>(ratio);
}

inline constexpr int kMatchRows = 8, kMatchThreads = 32 * kMatchRows;  // of a block

// A warp a row: rows are a token's channels, few, and the loads of a warp lie side by side.
template <int kPasses>
__global__ void __launch_bounds__(kMatchThreads)
    match_row_norms_kernel(const __grid_constant__ MatchRowNormsParams p) {
  const int lane = threadIdx.x % 32;
  const int64_t row = int64_t{blockIdx.x} * kMatchRows + threadIdx.x / 32;
  if (row >= p.rows) return;
  double reference = 0.0, sum = 0.0;
  for (int64_t col = lane; col < p.cols; col += 32) {
    const int64_t at = row * p.cols + col;
    float v[kPasses], r = 0.0f;
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      v[pass] = __ldg(p.v.velocity[pass] + at);
      if (pass == p.reference) r = v[pass];
    }
    const float s = velocity<kPasses>(p.v, v);
    reference += double{r} * double{r};
    sum += double{s} * double{s};
  }
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    reference += __shfl_xor_sync(0xffffffffu, reference, step);
    sum += __shfl_xor_sync(0xffffffffu, sum, step);
  }
  if (lane == 0) p.factor[row] = sum == 0.0 ? 1.0f : static_cast<float>(sqrt(reference / sum));
}

}  // namespace intaglio::cuda
