// mma_s8_peak: what the int8 tensor cores do by mma.sync when nothing but products is asked of
// them: a measured ceiling.
//
// Every warp keeps kMmaPeakChains independent accumulators in registers and multiplies random
// fragments, also in registers: random, as the power of the multipliers, and by it the clock,
// depends on the bits that change.
#pragma once

#include <cstdint>

#include "ops/cuda/kernels/peak_bits.cuh"
#include "ops/cuda/ptx/mma_s8.cuh"

namespace intaglio::cuda {

inline constexpr int kMmaPeakThreads = 256;
inline constexpr int kMmaPeakBlocksOfSm = 2;
inline constexpr int kMmaPeakChains = 8;

// sink [blocks * threads]: keeps the sums alive.
__global__ void __launch_bounds__(kMmaPeakThreads, kMmaPeakBlocksOfSm)
    mma_s8_peak_kernel(int iterations, int32_t* sink) {
  const uint32_t thread = blockIdx.x * kMmaPeakThreads + threadIdx.x;
  uint32_t a[2][4], b[kMmaPeakChains][2];
#pragma unroll
  for (int i = 0; i < 8; ++i) a[i / 4][i % 4] = peak_bits(thread * 64 + i);
#pragma unroll
  for (int i = 0; i < 2 * kMmaPeakChains; ++i) b[i / 2][i % 2] = peak_bits(thread * 64 + 16 + i);
  int32_t d[kMmaPeakChains][4] = {};
#pragma unroll 2
  for (int iteration = 0; iteration < iterations; ++iteration) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int chain = 0; chain < kMmaPeakChains; ++chain) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
        ptx::mma_m16n8k32_s8(d[chain], a[half], b[chain][0], b[chain][1]);
#else
        // 16 x 8 x 32 out of 8 x 8 x 16.
        ptx::mma_m8n8k16_s8(d[chain][0], d[chain][1], a[half][0], b[chain][0]);
        ptx::mma_m8n8k16_s8(d[chain][2], d[chain][3], a[half][1], b[chain][0]);
        ptx::mma_m8n8k16_s8(d[chain][0], d[chain][1], a[half][2], b[chain][1]);
        ptx::mma_m8n8k16_s8(d[chain][2], d[chain][3], a[half][3], b[chain][1]);
#endif
      }
    }
  }
  int32_t sum = 0;
#pragma unroll
  for (int i = 0; i < 4 * kMmaPeakChains; ++i) sum += d[i / 4][i % 4];
  sink[thread] = sum;
}
// Of one block in one iteration.
inline constexpr double kMmaPeakOperations =
    2.0 * 2 * kMmaPeakChains * 16 * 8 * 32 * (kMmaPeakThreads / 32);

}  // namespace intaglio::cuda
