// The oracle of the CUDA int8 GEMM checks, written apart from the kernels under test: random
// operands, a plain int32 product, comparisons.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "device_bench.cuh"
#include "ops/cuda/s8_gemm_params.h"

namespace intaglio::bench {

using cuda::S8GemmParams;

inline constexpr unsigned char kPoison = 0xa5;

__host__ __device__ inline uint32_t hash32(uint64_t x) {
  x = (x ^ (x >> 31)) * 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 29)) * 0xbf58476d1ce4e5b9ull;
  return static_cast<uint32_t>(x >> 32);
}

// normal: sum of four uniforms, sigma 31, as a row scaled by its largest of some thousands of
// normal values has it. Otherwise all of
// -128 to 127 alike.
__global__ void fill_s8_kernel(int8_t* to, int64_t count, uint32_t seed, bool normal) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step) {
    const uint32_t h = hash32((static_cast<uint64_t>(seed) << 40) + i + 1);
    if (normal) {
      const int sum = static_cast<int>((h & 255) + (h >> 8 & 255) + (h >> 16 & 255) + (h >> 24));
      to[i] =
          static_cast<int8_t>(max(-127, min(127, static_cast<int>(rintf((sum - 510) * 0.21f)))));
    } else {
      to[i] = static_cast<int8_t>(h & 255);
    }
  }
}

__global__ void fill_f32_kernel(float* to, int64_t count, uint32_t seed, float low, float high) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const uint32_t h = hash32((static_cast<uint64_t>(seed) << 40) + i + 1);
  to[i] = low + (high - low) * (static_cast<float>(h >> 8) * 0x1p-24f);
}

inline void fill_s8(int8_t* to, int64_t count, uint32_t seed, bool normal = false) {
  fill_s8_kernel<<<1024, 256>>>(to, count, seed, normal);
  require(cudaGetLastError(), "fill_s8");
}

inline void fill_f32(float* to, int64_t count, uint32_t seed, float low, float high) {
  fill_f32_kernel<<<static_cast<unsigned>((count + 255) / 256), 256>>>(to, count, seed, low, high);
  require(cudaGetLastError(), "fill_f32");
}

// int8 as numbers of another type, 32 times smaller: normal data comes to a deviation of about 1.
template <typename T>
__global__ void convert_s8_kernel(const int8_t* from, T* to, int64_t count) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step)
    to[i] = T(static_cast<float>(from[i]) * 0x1p-5f);
}

template <typename T>
void convert_s8(const int8_t* from, T* to, int64_t count) {
  convert_s8_kernel<<<1024, 256>>>(from, to, count);
  require(cudaGetLastError(), "convert_s8");
}

// sums [m, n] dense. 16 x 16 outputs a block, 64 bytes of k at a time; bytes are loaded one by one,
// so no alignment is assumed.
__global__ void plain_product_kernel(const S8GemmParams p, int32_t* sums) {
  __shared__ int8_t a[16][68], w[16][68];
  const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
  const int64_t blocks_n = (p.n + 15) / 16;
  const int64_t m0 = blockIdx.x / blocks_n * 16, n0 = blockIdx.x % blocks_n * 16;
  int32_t sum = 0;
  for (int k0 = 0; k0 < p.k; k0 += 64) {
    for (int i = threadIdx.x; i < 16 * 64; i += 256) {
      const int row = i / 64, k = k0 + i % 64;
      a[row][i % 64] = m0 + row < p.m && k < p.k ? p.a[(m0 + row) * p.lda + k] : 0;
      w[row][i % 64] = n0 + row < p.n && k < p.k ? p.w[(n0 + row) * p.ldw + k] : 0;
    }
    __syncthreads();
    for (int k = 0; k < 64; k += 4) {
      sum = __dp4a(*reinterpret_cast<const int*>(&a[ty][k]),
                   *reinterpret_cast<const int*>(&w[tx][k]), sum);
    }
    __syncthreads();
  }
  if (m0 + ty < p.m && n0 + tx < p.n) sums[(m0 + ty) * p.n + n0 + tx] = sum;
}

inline void plain_product(const S8GemmParams& p, int32_t* sums) {
  const int64_t blocks = int64_t{(p.m + 15) / 16} * ((p.n + 15) / 16);
  plain_product_kernel<<<static_cast<unsigned>(blocks), 256>>>(p, sums);
  require(cudaGetLastError(), "plain_product");
}

struct Mismatch {
  unsigned long long count;
  unsigned long long first;  // index in [rows + 1, ldo]
  double got, want;
};

__device__ inline double read_output(const S8GemmParams& p, int64_t at) {
  switch (p.out_type) {
    case DType::kI32:
      return static_cast<const int32_t*>(p.out)[at];
    case DType::kF32:
      return static_cast<const float*>(p.out)[at];
    case DType::kBF16:
      return __bfloat162float(static_cast<const __nv_bfloat16*>(p.out)[at]);
    default:
      return __half2float(static_cast<const __half*>(p.out)[at]);
  }
}

// One unit in the last place of the output type at |x|, its subnormals included.
__device__ inline double output_ulp(DType type, double x) {
  const int mantissa = type == DType::kF32 ? 23 : type == DType::kBF16 ? 7 : 10;
  const int lowest = type == DType::kF16 ? -14 : -126;
  const int exponent = x == 0.0 ? lowest : max(lowest, ilogb(x));
  return exp2(static_cast<double>(exponent - mantissa));
}

// y of one column in float64, and what float arithmetic may be away from it.
__device__ inline double scaled_f64(const S8GemmParams& p, int64_t sum, int64_t row, int64_t col,
                                    double* slack) {
  const double product =
      static_cast<double>(sum) * p.a_scale_row[row] * static_cast<double>(p.w_scale_col[col]);
  const double bias = p.bias == nullptr ? 0.0 : p.bias[col];
  *slack = (fabs(product) + fabs(bias)) * 0x1p-22;
  return product + bias;
}

// Rows 0 to m (one past the end) and columns 0 to ldo - 1: inside, the output must agree with the
// sums; outside, it must still be poison. int32: all bits. Floats: within one unit in the last
// place of float64, plus the rounding of the float steps; a NaN scale gives NaN. And without SwiGLU
// the bits must be those of float steps rounded one by one.
__global__ void compare_kernel(const S8GemmParams p, const int32_t* sums, Mismatch* result) {
  const int64_t index = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (index >= (int64_t{p.m} + 1) * p.ldo) return;
  const int64_t row = index / p.ldo, col = index % p.ldo;
  const bool swiglu = p.epilogue == GemmEpilogue::kSwiglu && p.out_type != DType::kI32;
  const bool half = p.out_type == DType::kBF16 || p.out_type == DType::kF16;
  const double got = read_output(p, index);
  double want = 0.0;
  bool good;
  if (row >= p.m || col >= (swiglu ? p.n / 2 : p.n)) {
    good = half ? static_cast<const uint16_t*>(p.out)[index] == 0xa5a5
                : static_cast<const uint32_t*>(p.out)[index] == 0xa5a5a5a5;
  } else if (p.out_type == DType::kI32) {
    want = sums[row * p.n + col];
    good = got == want;
  } else {
    double slack = 0.0;
    const int64_t first = swiglu ? col / 16 * 32 + col % 16 : col;
    want = scaled_f64(p, sums[row * p.n + first], row, first, &slack);
    if (swiglu) {
      double up_slack = 0.0;
      const double gate = want, gate_slack = slack;
      const double up = scaled_f64(p, sums[row * p.n + first + 16], row, first + 16, &up_slack);
      const double silu = gate / (1.0 + exp(-gate));
      want = silu * up;
      slack = fabs(silu) * up_slack + 1.1 * gate_slack * fabs(up) + fabs(want) * 0x1p-20;
    }
    slack += output_ulp(p.out_type, want);
    good = isnan(want) ? isnan(got) : fabs(got - want) <= slack;
    if (p.out_type == DType::kF16 && fabs(want) > 65504.0) good = isinf(got) || fabs(got) > 65000.0;
    if (!swiglu && !isnan(want)) {
      float y = __fmul_rn(__int2float_rn(sums[row * p.n + col]),
                          __fmul_rn(p.a_scale_row[row], p.w_scale_col[col]));
      if (p.bias != nullptr) y = __fadd_rn(y, p.bias[col]);
      const double bits = p.out_type == DType::kF32    ? y
                          : p.out_type == DType::kBF16 ? __bfloat162float(__float2bfloat16_rn(y))
                                                       : __half2float(__float2half_rn(y));
      good = good && got == bits;
    }
  }
  if (!good && atomicAdd(&result->count, 1ull) == 0) {
    result->first = static_cast<unsigned long long>(index);
    result->got = got;
    result->want = want;
  }
}

inline Mismatch compare(const S8GemmParams& p, const int32_t* sums) {
  static DeviceBuffer result(sizeof(Mismatch));
  require(cudaMemset(result.as<void>(), 0, sizeof(Mismatch)), "memset");
  const int64_t count = (int64_t{p.m} + 1) * p.ldo;
  compare_kernel<<<static_cast<unsigned>((count + 255) / 256), 256>>>(p, sums,
                                                                      result.as<Mismatch>());
  Mismatch host{};
  require(cudaMemcpy(&host, result.as<void>(), sizeof(host), cudaMemcpyDeviceToHost), "compare");
  return host;
}

}  // namespace intaglio::bench
