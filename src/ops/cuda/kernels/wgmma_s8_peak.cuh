// wgmma_s8_peak: what the int8 tensor cores of Hopper do by wgmma when nothing but products is
// asked of them: a measured ceiling.
//
// Two warpgroups a block multiply random tiles of shared memory that were written once: m64n256k32,
// as the GEMM's main loop without its copies.
#pragma once

#include <cstdint>

#include "ops/cuda/kernels/peak_bits.cuh"
#include "ops/cuda/ptx/shared_memory.cuh"
#include "ops/cuda/ptx/tma.cuh"
#include "ops/cuda/ptx/wgmma.cuh"

namespace intaglio::cuda {

inline constexpr int kWgmmaPeakThreads = 256;  // two warpgroups
inline constexpr int kWgmmaPeakStages = 3;
inline constexpr int kWgmmaPeakABytes = 2 * 64 * 128;  // 64 rows a warpgroup, k 128
inline constexpr int kWgmmaPeakWBytes = 256 * 128;
inline constexpr int kWgmmaPeakStageBytes = kWgmmaPeakABytes + kWgmmaPeakWBytes;
inline constexpr int kWgmmaPeakSharedBytes = kWgmmaPeakStages * kWgmmaPeakStageBytes + 1024;

// An iteration multiplies every stage once. sm_90a only; elsewhere it does nothing.
__global__ void __launch_bounds__(kWgmmaPeakThreads, 1)
    wgmma_s8_peak_kernel(int iterations, int32_t* sink) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ uint8_t raw[];
  // The 128-byte swizzle wants tiles at multiples of 1024.
  const uint32_t base = (ptx::shared_address(raw) + 1023u) & ~1023u;
  for (uint32_t at = threadIdx.x * 16; at < kWgmmaPeakStages * kWgmmaPeakStageBytes;
       at += kWgmmaPeakThreads * 16) {
    const uint32_t seed = (blockIdx.x << 18) + at;
    ptx::st_shared_16(base + at, {peak_bits(seed), peak_bits(seed + 1), peak_bits(seed + 2),
                                  peak_bits(seed + 3)});
  }
  ptx::fence_proxy_async();
  __syncthreads();
  const int warpgroup = __shfl_sync(~0u, static_cast<int>(threadIdx.x) / 128, 0);
  int32_t d[128];
#pragma unroll
  for (int i = 0; i < 128; ++i) d[i] = 0;
  for (int iteration = 0; iteration < iterations; ++iteration) {
    ptx::wgmma_fence();
#pragma unroll
    for (int stage = 0; stage < kWgmmaPeakStages; ++stage) {
      const uint32_t at = base + static_cast<uint32_t>(stage * kWgmmaPeakStageBytes);
#pragma unroll
      for (int k = 0; k < 128; k += 32) {
        ptx::WgmmaS8<256>::run(
            d, ptx::wgmma_descriptor_128b(at + static_cast<uint32_t>(warpgroup * 64 * 128 + k)),
            ptx::wgmma_descriptor_128b(at + static_cast<uint32_t>(kWgmmaPeakABytes + k)), 1);
      }
    }
    ptx::wgmma_commit();
    ptx::wgmma_wait<0>();
  }
  int32_t sum = 0;
#pragma unroll
  for (int i = 0; i < 128; ++i) sum += d[i];
  sink[blockIdx.x * kWgmmaPeakThreads + threadIdx.x] = sum;
#endif
}
inline constexpr double kWgmmaPeakOperations = 2.0 * kWgmmaPeakStages * 128 * 256 * 128;

}  // namespace intaglio::cuda
