// Test data and checks on the device: counter-based random numbers, an exact int8 product, comparisons.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#define CUDA_OK(call)                                                                     \
  do {                                                                                    \
    const cudaError_t status_ = (call);                                                   \
    if (status_ != cudaSuccess) {                                                         \
      std::fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call,                  \
                   cudaGetErrorString(status_));                                          \
      std::exit(1);                                                                       \
    }                                                                                     \
  } while (false)

namespace intaglio::bench {

__host__ __device__ inline uint32_t mix(uint64_t counter, uint32_t seed) {
  uint64_t x = counter * 0x9e3779b97f4a7c15ull + seed * 0xbf58476d1ce4e5b9ull;
  x ^= x >> 31;
  x *= 0x94d049bb133111ebull;
  x ^= x >> 29;
  x *= 0xbf58476d1ce4e5b9ull;
  return static_cast<uint32_t>(x >> 32);
}

// Standard normal, Box-Muller.
__device__ inline float normal(uint64_t counter, uint32_t seed) {
  const float u = (mix(2 * counter, seed) + 1.0f) * 2.3283064e-10f;
  const float v = mix(2 * counter + 1, seed) * 2.3283064e-10f;
  return sqrtf(-2.0f * logf(fminf(u, 1.0f))) * cospif(2.0f * v);
}

// normal: as a quantized activation looks, deviation 32; else the full range, -128 included.
__global__ void fill_s8(int8_t* x, int64_t count, uint32_t seed, bool is_normal) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * blockDim.x) {
    x[i] = is_normal ? static_cast<int8_t>(fminf(fmaxf(rintf(32.0f * normal(i, seed)), -127.0f), 127.0f))
                     : static_cast<int8_t>(mix(i, seed) & 0xff);
  }
}
__global__ void fill_f32(float* x, int64_t count, uint32_t seed, float center, float deviation) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * blockDim.x)
    x[i] = center + deviation * normal(i, seed);
}
template <typename T>
__global__ void convert_s8(const int8_t* x, T* y, int64_t count) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * blockDim.x)
    y[i] = T(static_cast<float>(x[i]) * (1.0f / 32.0f));
}

// One thread, one output: plain and exact.
__global__ void naive_s8_gemm(const int8_t* a, int64_t lda, const int8_t* w, int64_t ldw, int32_t* out,
                              int m, int n, int k) {
  const int column = blockIdx.x * blockDim.x + threadIdx.x;
  const int row = blockIdx.y * blockDim.y + threadIdx.y;
  if (row >= m || column >= n) return;
  const int8_t* x = a + row * lda;
  const int8_t* y = w + column * ldw;
  int32_t sum = 0;
  int i = 0;
  for (; i + 4 <= k; i += 4) {
    int px, py;
    if (lda % 4 == 0 && ldw % 4 == 0) {
      px = *reinterpret_cast<const int*>(x + i);
      py = *reinterpret_cast<const int*>(y + i);
      sum = __dp4a(px, py, sum);
    } else {
      for (int e = 0; e < 4; ++e) sum += int{x[i + e]} * int{y[i + e]};
    }
  }
  for (; i < k; ++i) sum += int{x[i]} * int{y[i]};
  out[int64_t{row} * n + column] = sum;
}

// errors[0]: int32 outputs that differ.
__global__ void compare_s32(const int32_t* out, int64_t ldo, const int32_t* right, int m, int n,
                            unsigned long long* errors) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < int64_t{m} * n;
       i += int64_t{gridDim.x} * blockDim.x)
    if (out[i / n * ldo + i % n] != right[i]) atomicAdd(errors, 1ull);
}

__device__ inline float dequantized(const int32_t* acc, int64_t row, int n, int column,
                                    const float* ra, const float* wc, const float* bias) {
  const float y = __fmul_rn(__int2float_rn(acc[row * n + column]), __fmul_rn(ra[row], wc[column]));
  return bias != nullptr ? __fadd_rn(y, bias[column]) : y;
}

// errors[0]: bf16 outputs further than one bf16 step from float64 arithmetic (SwiGLU: two steps, exp is approximate); errors[1]: bits other than the float formula's.
__global__ void compare_bf16(const __nv_bfloat16* out, int64_t ldo, const int32_t* acc, int m, int n,
                             const float* ra, const float* wc, const float* bias, bool swiglu,
                             unsigned long long* errors) {
  const int columns = swiglu ? n / 2 : n;
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < int64_t{m} * columns;
       i += int64_t{gridDim.x} * blockDim.x) {
    const int64_t row = i / columns;
    const int column = static_cast<int>(i % columns);
    const int g = swiglu ? column / 16 * 32 + column % 16 : column;
    const auto exact = [&](int c) {
      return double{static_cast<double>(acc[row * n + c])} * ra[row] * wc[c] +
             (bias != nullptr ? bias[c] : 0.0f);
    };
    double right = exact(g);
    float formula = dequantized(acc, row, n, g, ra, wc, bias);
    if (swiglu) {
      right = right / (1.0 + exp(-right)) * exact(g + 16);
      formula = formula / (1.0f + expf(-formula)) * dequantized(acc, row, n, g + 16, ra, wc, bias);
    }
    const float got = __bfloat162float(out[row * ldo + column]);
    const double step = fmax(fabs(right), 1e-30) * 0x1p-7;
    // The float steps before the last rounding err by some 1e-7 of the terms, which counts where terms cancel.
    const double slack = (swiglu ? 2.0 : 1.0) * step +
                         4e-7 * (fabs(right) + (bias != nullptr ? fabs(double{bias[g]}) : 0.0));
    if (!(fabs(got - right) <= slack)) atomicAdd(errors, 1ull);
    if (!swiglu && got != __bfloat162float(__float2bfloat16_rn(formula))) atomicAdd(errors + 1, 1ull);
  }
}

}  // namespace intaglio::bench
