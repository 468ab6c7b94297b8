// SwiGLU as a pass of its own, for comparison with the fused one.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "ops/cuda/tile/epilogue.cuh"

namespace intaglio::bench {

// x [rows, columns] bf16, 16 gates and 16 ups in turn -> y [rows, columns / 2]. A thread makes 8
// outputs: two loads and a store of 16 bytes.
__global__ void __launch_bounds__(256)
    swiglu_pass_kernel(const uint4* __restrict__ x, uint4* __restrict__ y, int64_t count) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const uint4 gate = x[i / 2 * 4 + i % 2], up = x[i / 2 * 4 + i % 2 + 2];
  const auto pair = [](uint32_t g, uint32_t u) {
    const float2 gates = __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(&g));
    const float2 ups = __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(&u));
    return cuda::pack_half_pair(
        cuda::gate_pair<cuda::FastMath, EpilogueType<Silu, true>>(gates, ups), DType::kBF16);
  };
  y[i] = {pair(gate.x, up.x), pair(gate.y, up.y), pair(gate.z, up.z), pair(gate.w, up.w)};
}

inline cudaError_t swiglu_pass(const void* x, void* y, int64_t rows, int64_t columns,
                               cudaStream_t stream) {
  const int64_t count = rows * columns / 16;
  swiglu_pass_kernel<<<static_cast<unsigned>((count + 255) / 256), 256, 0, stream>>>(
      static_cast<const uint4*>(x), static_cast<uint4*>(y), count);
  return cudaPeekAtLastError();
}

}  // namespace intaglio::bench
