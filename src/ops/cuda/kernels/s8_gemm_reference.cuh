// The judge of int8 products: plain exact sums beside the formulas of ops/ref/s8_gemm.h, against
// what a kernel wrote. A block has 16 rows x 32 columns of the product; thread (y, x) has row y and
// columns x and x + 16, which are a gated pair where there are pairs. k goes through shared memory
// by 64 bytes. Bytes are loaded one by one, so no alignment is assumed.
//
// Nothing of the kernels under test is used. Correct, and slow beside them: about a tenth of a
// second on an H100 for 4608 x 24576 x 4608.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "ops/cuda/s8_gemm_params.h"
#include "ops/cuda/s8_gemm_verdict.h"
#include "ops/ref/s8_gemm.h"

namespace intaglio::cuda {

inline constexpr int kS8JudgeThreads = 256, kS8JudgeRows = 16, kS8JudgeColumns = 32;
inline constexpr int kS8JudgeWords = 16;  // of four bytes of k at a time

__device__ inline float s8_rounded(DType type, float y) {
  if (type == DType::kBF16) return __bfloat162float(__float2bfloat16_rn(y));
  return type == DType::kF16 ? __half2float(__float2half_rn(y)) : y;
}

__device__ inline float s8_written(const S8GemmParams& p, int64_t at) {
  if (p.out_type == DType::kBF16)
    return __bfloat162float(static_cast<const __nv_bfloat16*>(p.out)[at]);
  if (p.out_type == DType::kF16) return __half2float(static_cast<const __half*>(p.out)[at]);
  return static_cast<const float*>(p.out)[at];
}

__device__ inline void s8_record(S8GemmVerdict* verdict, bool right, int64_t at, double got,
                                 double want) {
  if (right || atomicAdd(&verdict->wrong, 1ull) != 0) return;
  verdict->first = static_cast<unsigned long long>(at);
  verdict->got = got;
  verdict->want = want;
}

__device__ inline void judge_s8_sum(const S8GemmParams& p, int64_t row, int64_t col, int32_t sum,
                                    S8GemmVerdict* verdict) {
  if (col >= p.n) return;
  const int64_t at = row * p.ldo + col;
  const int32_t got = static_cast<const int32_t*>(p.out)[at];
  s8_record(verdict, got == sum, at, got, sum);
}

// `col`: of the output.
__device__ inline void judge_s8_value(const S8GemmParams& p, int64_t row, int64_t col, float value,
                                      S8GemmVerdict* verdict) {
  const int64_t at = row * p.ldo + col;
  const float got = s8_written(p, at), want = s8_rounded(p.out_type, value);
  s8_record(verdict, ref::s8_agrees(p.out_type, p.epilogue, got, want), at,
            static_cast<double>(got), static_cast<double>(want));
}

// y of a column of the product, 0 past the last.
__device__ inline float s8_scaled_at(const S8GemmParams& p, int64_t row, int64_t col, int32_t sum) {
  if (col >= p.n) return 0.0f;
  return ref::s8_scaled(sum, p.a_scale_row[row], p.w_scale_col[col],
                        p.bias == nullptr ? nullptr : p.bias + col);
}

__global__ void __launch_bounds__(kS8JudgeThreads)
    judge_s8_gemm_kernel(const __grid_constant__ S8GemmParams p, S8GemmVerdict* verdict) {
  // A word more a row: 16 rows at once lie in different banks.
  __shared__ int32_t a[kS8JudgeRows][kS8JudgeWords + 1], w[kS8JudgeColumns][kS8JudgeWords + 1];
  const int thread = static_cast<int>(threadIdx.x), x = thread % 16, y = thread / 16;
  const int64_t tiles_n = (int64_t{p.n} + kS8JudgeColumns - 1) / kS8JudgeColumns;
  const int64_t row0 = int64_t{blockIdx.x} / tiles_n * kS8JudgeRows;
  const int64_t col0 = int64_t{blockIdx.x} % tiles_n * kS8JudgeColumns;
  const auto load = [&](int32_t(*to)[kS8JudgeWords + 1], int rows, const int8_t* from, int64_t ld,
                        int64_t first, int64_t end, int k0) {
    for (int i = thread; i < rows * 4 * kS8JudgeWords; i += kS8JudgeThreads) {
      const int row = i / (4 * kS8JudgeWords), k = i % (4 * kS8JudgeWords);
      reinterpret_cast<int8_t*>(to[row])[k] =
          first + row < end && k0 + k < p.k ? from[(first + row) * ld + k0 + k] : int8_t{0};
    }
  };
  int32_t sum0 = 0, sum1 = 0;
  for (int k0 = 0; k0 < p.k; k0 += 4 * kS8JudgeWords) {
    load(a, kS8JudgeRows, p.a, p.lda, row0, p.m, k0);
    load(w, kS8JudgeColumns, p.w, p.ldw, col0, p.n, k0);
    __syncthreads();
    for (int word = 0; word < kS8JudgeWords; ++word) {
      sum0 = __dp4a(a[y][word], w[x][word], sum0);
      sum1 = __dp4a(a[y][word], w[x + 16][word], sum1);
    }
    __syncthreads();
  }
  const int64_t row = row0 + y, col = col0 + x;
  if (row >= p.m) return;
  if (p.out_type == DType::kI32) {
    judge_s8_sum(p, row, col, sum0, verdict);
    judge_s8_sum(p, row, col + 16, sum1, verdict);
    return;
  }
  const float y0 = s8_scaled_at(p, row, col, sum0), y1 = s8_scaled_at(p, row, col + 16, sum1);
  visit_epilogue(p.epilogue, [&](auto epilogue) {
    using Epilogue = decltype(epilogue);
    if constexpr (Epilogue::kGated) {
      judge_s8_value(p, row, col0 / 2 + x, ref::s8_output<Epilogue>(y0, y1), verdict);
    } else {
      if (col < p.n) judge_s8_value(p, row, col, ref::s8_output<Epilogue>(y0, 0.0f), verdict);
      if (col + 16 < p.n)
        judge_s8_value(p, row, col + 16, ref::s8_output<Epilogue>(y1, 0.0f), verdict);
    }
  });
}

}  // namespace intaglio::cuda
