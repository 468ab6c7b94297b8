#include "ops/cuda/kernels/s8_reduce.cuh"
#include "ops/cuda/launch/s8_gemm_config.h"

namespace intaglio::cuda {

const char* refuse_s8_gemm_params(const S8GemmParams& p) {
  // Tiles are addressed by 32-bit rows and columns rounded up to whole tiles.
  constexpr int32_t kMaxRows = 0x7fffffff - 1024;
  if (p.m < 1 || p.n < 1 || p.k < 1) return "m, n and k must be at least 1";
  if (p.m > kMaxRows || p.n > kMaxRows) return "m or n is over 2^31 - 1024";
  if (p.k > 130000) return "k is over 130000: the int32 sums could overflow";
  if (p.lda < p.k || p.ldw < p.k) return "lda or ldw is below k";
  const bool scaled = p.out_type != DType::kI32;
  if (scaled && is_gated(p.epilogue) && p.n % 32 != 0) return "gated pairs need n % 32 == 0";
  if (p.ldo < out_columns(p)) return "ldo is below the output's columns";
  if (p.a == nullptr || p.w == nullptr || p.out == nullptr) return "a, w or out is null";
  if (scaled && (p.a_scale_row == nullptr || p.w_scale_col == nullptr)) return "a scale is null";
  return nullptr;
}

cudaError_t s8_reduce(const S8GemmParams& p, const int32_t* partials, const S8SplitK& split,
                      cudaStream_t stream) {
  const int64_t pairs = int64_t{p.m} * ((out_columns(p) + 1) / 2);
  const int64_t blocks = (pairs + kS8ReduceThreads - 1) / kS8ReduceThreads;
  if (blocks > 0x7fffffff) return cudaErrorInvalidValue;
  const S8ReduceArgs args{p, partials, split.ld, split.splits};
  s8_reduce_kernel<<<static_cast<unsigned>(blocks), kS8ReduceThreads, 0, stream>>>(args);
  return cudaPeekAtLastError();
}

}  // namespace intaglio::cuda
