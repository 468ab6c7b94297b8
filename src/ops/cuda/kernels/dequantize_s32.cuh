// dequantize_s32: int32 sums of a product that has no epilogue -> scales, bias, bf16: the second
// pass that a fused epilogue saves.
//
//   out[m, n] = bf16(sums[m, n] * (a_scale_row[m] * w_scale_col[n]) + bias[n])       as s8_gemm_params.h, each step rounded
//
// Bound by memory, 6 bytes an output. A thread makes 4 adjacent outputs from one 16-byte load,
// kQuads times; lanes are contiguous. Column vectors are reread from L1.
#pragma once

#include <cstdint>

#include "ops/cuda/ptx/global_memory.cuh"
#include "ops/cuda/s8_gemm_params.h"
#include "ops/cuda/tile/epilogue.cuh"

namespace intaglio::cuda {

inline constexpr int kDequantizeS32Threads = 256;
inline constexpr int kDequantizeS32Quads = 2;

// n is a multiple of 4; sums and out are dense, at multiples of 16 and 8 bytes.
__global__ void __launch_bounds__(kDequantizeS32Threads)
    dequantize_s32_kernel(const __grid_constant__ S8GemmParams p, const int32_t* sums) {
  const uint32_t quads_of_row = static_cast<uint32_t>(p.n / 4);
  const int64_t quads = int64_t{p.m} * quads_of_row;
  const int64_t first =
      int64_t{blockIdx.x} * (kDequantizeS32Threads * kDequantizeS32Quads) + threadIdx.x;
  uint4 v[kDequantizeS32Quads];
#pragma unroll
  for (int i = 0; i < kDequantizeS32Quads; ++i) {
    const int64_t quad = first + i * kDequantizeS32Threads;
    if (quad < quads) v[i] = ptx::ld_global_stream_16(sums + quad * 4);
  }
#pragma unroll
  for (int i = 0; i < kDequantizeS32Quads; ++i) {
    const int64_t quad = first + i * kDequantizeS32Threads;
    if (quad >= quads) return;
    const uint32_t row = static_cast<uint32_t>(quad) / quads_of_row;
    const uint32_t column = static_cast<uint32_t>(quad) % quads_of_row * 4;
    const float row_scale = __ldg(p.a_scale_row + row);
    const float4 scale = __ldg(reinterpret_cast<const float4*>(p.w_scale_col + column));
    const float4 bias = __ldg(reinterpret_cast<const float4*>(p.bias + column));
    const auto output = [&](uint32_t sum, float w_scale, float b) {
      return scale_one(static_cast<int32_t>(sum), row_scale, w_scale, b);
    };
    static_cast<uint2*>(p.out)[quad] = {
        pack_half_pair({output(v[i].x, scale.x, bias.x), output(v[i].y, scale.y, bias.y)},
                       DType::kBF16),
        pack_half_pair({output(v[i].z, scale.z, bias.z), output(v[i].w, scale.w, bias.w)},
                       DType::kBF16)};
  }
}

}  // namespace intaglio::cuda
