#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "ops/cuda/launch/s8_gemm_reference.h"
#include "ops/cuda/tile/activation.cuh"

namespace intaglio::cuda {
namespace {

constexpr int kBlocks = 1024, kThreads = 256;

__device__ uint32_t random_bits(int64_t counter, uint32_t seed) {
  uint64_t x = static_cast<uint64_t>(counter) * 0x9e3779b97f4a7c15ull + seed;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return static_cast<uint32_t>((x ^ (x >> 31)) >> 16);
}

__global__ void fill_s8_kernel(int8_t* to, int64_t count, uint32_t seed) {
  for (int64_t i = blockIdx.x * int64_t{kThreads} + threadIdx.x; i < count; i += kBlocks * kThreads)
    to[i] = static_cast<int8_t>(random_bits(i, seed) & 0xff);
}

__global__ void fill_f32_kernel(float* to, int64_t count, uint32_t seed, float low, float high) {
  for (int64_t i = blockIdx.x * int64_t{kThreads} + threadIdx.x; i < count; i += kBlocks * kThreads)
    to[i] = low + (high - low) * (static_cast<float>(random_bits(i, seed) >> 8) * 0x1p-24f);
}

__device__ int32_t plain_sum(const S8GemmParams& p, int64_t row, int64_t column) {
  const int8_t* a = p.a + row * p.lda;
  const int8_t* w = p.w + column * p.ldw;
  int32_t sum = 0;
  for (int32_t k = 0; k < p.k; ++k) sum += int32_t{a[k]} * int32_t{w[k]};
  return sum;
}

__device__ float dequantized(const S8GemmParams& p, int64_t row, int64_t column) {
  const float scale = __fmul_rn(p.a_scale_row[row], p.w_scale_col[column]);
  const float y = __fmul_rn(__int2float_rn(plain_sum(p, row, column)), scale);
  return p.bias != nullptr ? __fadd_rn(y, p.bias[column]) : y;
}

__device__ float rounded(DType type, float y) {
  if (type == DType::kBF16) return __bfloat162float(__float2bfloat16_rn(y));
  return type == DType::kF16 ? __half2float(__float2half_rn(y)) : y;
}

__device__ float output_of(const S8GemmParams& p, int64_t at) {
  if (p.out_type == DType::kBF16)
    return __bfloat162float(static_cast<const __nv_bfloat16*>(p.out)[at]);
  if (p.out_type == DType::kF16) return __half2float(static_cast<const __half*>(p.out)[at]);
  return static_cast<const float*>(p.out)[at];
}

__global__ void count_wrong_kernel(const S8GemmParams p, unsigned long long* wrong) {
  const int64_t columns = out_columns(p);
  const int64_t i = blockIdx.x * int64_t{kThreads} + threadIdx.x;
  if (i >= p.m * columns) return;
  const int64_t row = i / columns, column = i % columns, at = row * p.ldo + column;
  bool right;
  if (p.out_type == DType::kI32) {
    right = static_cast<const int32_t*>(p.out)[at] == plain_sum(p, row, column);
  } else if (p.epilogue == GemmEpilogue::kNone) {
    right = output_of(p, at) == rounded(p.out_type, dequantized(p, row, column));
  } else {
    float want = 0.0f;
    visit_epilogue(p.epilogue, [&](auto epilogue) {
      using Epilogue = decltype(epilogue);
      const int64_t first = Epilogue::kGated ? column / 16 * 32 + column % 16 : column;
      want = activate<RoundedMath>(typename Epilogue::Function{}, dequantized(p, row, first));
      if constexpr (Epilogue::kGated) want *= dequantized(p, row, first + 16);
    });
    const float step = p.out_type == DType::kBF16  ? 0x1p-7f
                       : p.out_type == DType::kF16 ? 0x1p-10f
                                                   : 0x1p-20f;
    right = fabsf(output_of(p, at) - want) <= 2.0f * step * fabsf(want) + 1e-6f;
  }
  if (!right) atomicAdd(wrong, 1ull);
}

}  // namespace

cudaError_t fill_s8(int8_t* to, int64_t count, uint32_t seed, cudaStream_t stream) {
  fill_s8_kernel<<<kBlocks, kThreads, 0, stream>>>(to, count, seed);
  return cudaGetLastError();
}

cudaError_t fill_f32(float* to, int64_t count, uint32_t seed, float low, float high,
                     cudaStream_t stream) {
  fill_f32_kernel<<<kBlocks, kThreads, 0, stream>>>(to, count, seed, low, high);
  return cudaGetLastError();
}

cudaError_t count_wrong_s8_gemm(const S8GemmParams& p, unsigned long long* wrong,
                                cudaStream_t stream) {
  const int64_t blocks = (int64_t{p.m} * p.n + kThreads - 1) / kThreads;
  if (blocks > 0x7fffffff) return cudaErrorInvalidValue;
  count_wrong_kernel<<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(p, wrong);
  return cudaGetLastError();
}

}  // namespace intaglio::cuda
