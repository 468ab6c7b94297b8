#include "ops/cuda/kernels/s8_gemm_reference.cuh"
#include "ops/cuda/launch/s8_gemm_reference.h"

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

cudaError_t judge_s8_gemm(const S8GemmParams& p, S8GemmVerdict* verdict, cudaStream_t stream) {
  const auto tiles = [](int64_t size, int64_t tile) { return (size + tile - 1) / tile; };
  const int64_t blocks = tiles(p.m, kS8JudgeRows) * tiles(p.n, kS8JudgeColumns);
  if (blocks > 0x7fffffff) return cudaErrorInvalidValue;
  judge_s8_gemm_kernel<<<static_cast<unsigned>(blocks), kS8JudgeThreads, 0, stream>>>(p, verdict);
  return cudaGetLastError();
}

}  // namespace intaglio::cuda
