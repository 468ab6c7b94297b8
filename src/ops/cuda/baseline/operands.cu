#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include "ops/cuda/baseline/operands.h"
#include "ops/cuda/weight_formats.h"

namespace intaglio::cuda {
namespace {

constexpr int kThreads = 256, kBlocks = 2048, kWarp = 32;
constexpr float kMaxE4m3 = 448.0f;

__device__ uint32_t random_bits(uint64_t counter, uint32_t seed) {
  uint64_t x = counter * 0x9e3779b97f4a7c15ull + seed * 0xd1342543de82ef95ull + 1;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return static_cast<uint32_t>((x ^ (x >> 31)) >> 24);
}

__device__ float bf16_at(const Matrix& m, int64_t row, int64_t col) {
  return __bfloat162float(static_cast<const __nv_bfloat16*>(m.data)[row * m.ld + col]);
}

__global__ void fill_normal_kernel(const Matrix to, float sigma, uint32_t seed) {
  const int64_t count = to.rows * to.ld;
  for (int64_t i = blockIdx.x * int64_t{kThreads} + threadIdx.x; i < count;
       i += int64_t{kBlocks} * kThreads) {
    // Box and Muller; u in (0, 1].
    const float u = (static_cast<float>(random_bits(2 * i, seed) >> 8) + 1.0f) * 0x1p-24f;
    const float turn = static_cast<float>(random_bits(2 * i + 1, seed) >> 8) * 0x1p-24f;
    const float value = sigma * sqrtf(-2.0f * logf(u)) * cospif(2.0f * turn);
    static_cast<__nv_bfloat16*>(to.data)[i] =
        __float2bfloat16_rn(i % to.ld < to.cols ? value : 0.0f);
  }
}

__device__ float block_max(float value) {
  __shared__ float of_warp[kThreads / kWarp];
  for (int step = kWarp / 2; step > 0; step /= 2)
    value = fmaxf(value, __shfl_xor_sync(~0u, value, step));
  if (threadIdx.x % kWarp == 0) of_warp[threadIdx.x / kWarp] = value;
  __syncthreads();
  value = of_warp[0];
  for (int i = 1; i < kThreads / kWarp; ++i) value = fmaxf(value, of_warp[i]);
  return value;
}

// A block a row.
__global__ void quantize_e4m3_kernel(const Matrix from, const Matrix to, float absmax,
                                     float* scale) {
  const int64_t row = blockIdx.x;
  float largest = absmax;
  if (absmax <= 0.0f) {
    largest = 0.0f;
    for (int64_t col = threadIdx.x; col < from.cols; col += kThreads)
      largest = fmaxf(largest, fabsf(bf16_at(from, row, col)));
    largest = block_max(largest);
  }
  const float step = fmaxf(largest / kMaxE4m3, 1e-30f);
  if (threadIdx.x == 0 && (absmax <= 0.0f || row == 0)) scale[row] = step;
  for (int64_t col = threadIdx.x; col < to.ld; col += kThreads) {
    const float value = col < from.cols ? bf16_at(from, row, col) / step : 0.0f;
    static_cast<__nv_fp8_storage_t*>(to.data)[row * to.ld + col] =
        __nv_cvt_float_to_fp8(value, __NV_SATFINITE, __NV_E4M3);
  }
}

// A thread a block of values.
__global__ void quantize_q8_0_kernel(const Matrix from, uint8_t* to) {
  const int64_t blocks = from.rows * (from.cols / kQ8_0Block);
  for (int64_t block = blockIdx.x * int64_t{kThreads} + threadIdx.x; block < blocks;
       block += int64_t{kBlocks} * kThreads) {
    const int64_t row = block * kQ8_0Block / from.cols, col = block * kQ8_0Block % from.cols;
    float largest = 0.0f;
    for (int64_t i = 0; i < kQ8_0Block; ++i)
      largest = fmaxf(largest, fabsf(bf16_at(from, row, col + i)));
    const float step = largest / 127.0f, inverse = step > 0.0f ? 1.0f / step : 0.0f;
    uint8_t* const at = to + block * kQ8_0BlockBytes;
    *reinterpret_cast<__half*>(at) = __float2half_rn(step);
    for (int64_t i = 0; i < kQ8_0Block; ++i)
      at[kQ8_0ScaleBytes + i] =
          static_cast<uint8_t>(static_cast<int>(roundf(bf16_at(from, row, col + i) * inverse)));
  }
}

// A warp an output.
__global__ void sampled_error_kernel(const SampledError e) {
  constexpr int kOf16Bytes = 8;
  const int64_t n = e.w.rows;
  const int64_t index = (blockIdx.x * int64_t{kThreads} + threadIdx.x) / kWarp,
                lane = threadIdx.x % kWarp;
  if (index >= e.samples * n) return;
  const int64_t row = index / n * e.x.rows / e.samples, col = index % n;
  const auto* x = static_cast<const __nv_bfloat16*>(e.x.data) + row * e.x.ld;
  const auto* w = static_cast<const __nv_bfloat16*>(e.w.data) + col * e.w.ld;
  float sum = 0.0f;
  for (int64_t k = lane * kOf16Bytes; k < e.x.ld; k += kWarp * kOf16Bytes) {
    const uint4 xs = *reinterpret_cast<const uint4*>(x + k);
    const uint4 ws = *reinterpret_cast<const uint4*>(w + k);
    const auto* x8 = reinterpret_cast<const __nv_bfloat16*>(&xs);
    const auto* w8 = reinterpret_cast<const __nv_bfloat16*>(&ws);
    for (int i = 0; i < kOf16Bytes; ++i) sum += __bfloat162float(x8[i]) * __bfloat162float(w8[i]);
  }
  for (int step = kWarp / 2; step > 0; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
  if (lane != 0) return;
  const double want = double{sum} + (e.bias != nullptr ? double{e.bias[col]} : 0.0);
  const double got = __bfloat162float(static_cast<const __nv_bfloat16*>(e.out)[row * n + col]);
  atomicAdd(e.sums, (got - want) * (got - want));
  atomicAdd(e.sums + 1, want * want);
}

}  // namespace

cudaError_t fill_normal_bf16(const Matrix& to, float sigma, uint32_t seed, cudaStream_t stream) {
  fill_normal_kernel<<<kBlocks, kThreads, 0, stream>>>(to, sigma, seed);
  return cudaPeekAtLastError();
}

cudaError_t quantize_e4m3(const Matrix& from, const Matrix& to, float absmax, float* scale,
                          cudaStream_t stream) {
  if (from.rows != to.rows || from.cols > to.ld) return cudaErrorInvalidValue;
  quantize_e4m3_kernel<<<static_cast<unsigned>(from.rows), kThreads, 0, stream>>>(from, to, absmax,
                                                                                  scale);
  return cudaPeekAtLastError();
}

cudaError_t quantize_q8_0(const Matrix& from, uint8_t* blocks, cudaStream_t stream) {
  if (from.cols % kQ8_0Block != 0) return cudaErrorInvalidValue;
  quantize_q8_0_kernel<<<kBlocks, kThreads, 0, stream>>>(from, blocks);
  return cudaPeekAtLastError();
}

cudaError_t add_sampled_error(const SampledError& e, cudaStream_t stream) {
  if (e.samples < 1 || e.x.ld % 8 != 0 || e.x.ld != e.w.ld) return cudaErrorInvalidValue;
  const int64_t blocks = (e.samples * e.w.rows * kWarp + kThreads - 1) / kThreads;
  sampled_error_kernel<<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(e);
  return cudaPeekAtLastError();
}

}  // namespace intaglio::cuda
