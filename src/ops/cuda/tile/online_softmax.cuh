// Softmax of rows whose logits come tile by tile, in the registers of a wgmma accumulator
// (ptx/wgmma.cuh): a thread has two rows, x[4 g + {0, 1}] of the first, x[4 g + {2, 3}] of the
// second, and shares them with the three other threads of its quad.
//
//   p = 2^(x - reference),  sum += p        out = (sum of p v) / sum
//
// Any reference gives the same quotient, as long as nothing overflows. So it need not be the row's
// maximum: it is raised, to the maximum, only when a logit exceeds it by more than kSlack, for then
// p would exceed 2^kSlack. What was summed up so far is multiplied by `correction` when that
// happens: seldom after the first tiles, so the rescaling of the output nearly goes away. float and
// bf16 are as exact at 2^kSlack as at 1.
// Each row decides for itself: its bits depend on no other row.
// NaN: a logit that is NaN makes p, the sum and the output NaN. Maxima pass over it. A row of which
// all logits are -inf is NaN (0 / 0).
#pragma once

#include <cstdint>

#include "ops/cuda/ptx/softmax.cuh"

namespace intaglio::cuda {

template <int kCount>
struct OnlineSoftmax {
  static constexpr float kSlack = 8.0f;
  // Below every logit, and finite: -inf - kLowest is -inf, not NaN.
  static constexpr float kLowest = -3e38f;

  float reference[2] = {kLowest, kLowest};
  float sum[2] = {0.0f, 0.0f};  // this thread's part
  float correction
      [2];  // of what was summed up before the newest tile; 1 unless the row's reference rose

  // Logits x * unit in units of log2 (unit > 0) become p. True in all lanes if any row of the warp
  // rose. All 32 lanes call it.
  __device__ __forceinline__ bool step(float (&x)[kCount], float unit) {
    bool rose[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      // Two chains: a maximum waits for the one before it.
      float even = x[2 * r], odd = x[2 * r + 1];
#pragma unroll
      for (int g = 1; g < kCount / 4; ++g) {
        even = fmaxf(even, x[4 * g + 2 * r]);
        odd = fmaxf(odd, x[4 * g + 2 * r + 1]);
      }
      float top = fmaxf(even, odd);
      top = fmaxf(top, ptx::shuffle_xor(top, 1));
      top = fmaxf(top, ptx::shuffle_xor(top, 2)) * unit;
      rose[r] = top > reference[r] + kSlack;
      const float next = rose[r] ? top : reference[r];
      correction[r] = ptx::ex2(reference[r] - next);  // 2^0 is 1 exactly
      reference[r] = next;
      sum[r] *= correction[r];
    }
    float odd_sum[2] = {0.0f, 0.0f};
#pragma unroll
    for (int g = 0; g < kCount / 4; ++g) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int i = 4 * g + 2 * r;
        x[i] = ptx::ex2(fmaf(x[i], unit, -reference[r]));
        x[i + 1] = ptx::ex2(fmaf(x[i + 1], unit, -reference[r]));
        sum[r] += x[i];
        odd_sum[r] += x[i + 1];
      }
    }
    sum[0] += odd_sum[0];
    sum[1] += odd_sum[1];
    return ptx::any_lane(rose[0] || rose[1]);
  }

  // 1 / sum of the whole row. All 32 lanes call it.
  __device__ __forceinline__ float inverse_sum(int r) const {
    float all = sum[r];
    all += ptx::shuffle_xor(all, 1);
    all += ptx::shuffle_xor(all, 2);
    return 1.0f / all;
  }
};

}  // namespace intaglio::cuda
