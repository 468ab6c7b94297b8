#include <algorithm>

#include "ops/cuda/kernels/plain_gemm.cuh"
#include "ops/cuda/launch/arguments.h"
#include "ops/cuda/launch/plain_gemm.h"

namespace intaglio::cuda {
namespace {

constexpr int64_t kMostSize =
    int64_t{1}
    << 40;  // of rows and strides: keeps products of two within 64 bits with the tiles' spare
constexpr int64_t kMostBlocks = int64_t{1} << 30;  // the others' tiles are done by these

bool is_aligned(const void* pointer, DType type) {
  return cuda::is_aligned(pointer, type == DType::kF32 ? 4 : 2);
}

bool is_float_type(DType type) { return type == DType::kF32 || type == DType::kBF16; }

}  // namespace

const char* plain_gemm_refusal(const PlainGemmParams& p) {
  if (p.m < 0 || p.n < 1 || p.k < 1) return "sizes must be positive";
  if (!is_float_type(p.type) || !is_float_type(p.out_type)) return "types must be float or bf16";
  if (p.lda < p.k || p.ldw < p.k || p.ldo < p.n) return "rows are longer than their strides";
  if (std::max({p.m, p.n, p.lda, p.ldw, p.ldo}) > kMostSize) return "sizes must be 2^40 at most";
  if (p.m == 0) return nullptr;
  if (p.a == nullptr || p.w == nullptr || p.out == nullptr) return "a, w and out must be given";
  return is_aligned(p.a, p.type) && is_aligned(p.w, p.type) && is_aligned(p.out, p.out_type) &&
                 is_aligned(p.bias, DType::kF32)
             ? nullptr
             : "a pointer is not aligned to its type";
}

cudaError_t plain_gemm(const PlainGemmParams& p, cudaStream_t stream) {
  if (plain_gemm_refusal(p) != nullptr) return cudaErrorInvalidValue;
  if (p.m == 0) return cudaSuccess;
  using C = PlainGemmConfig;
  const int64_t tiles_m = div_up(p.m, C::kTile), tiles_n = div_up(p.n, C::kTile);
  const auto blocks =
      static_cast<unsigned>(tiles_m > kMostBlocks / tiles_n ? kMostBlocks : tiles_m * tiles_n);
  if (p.type == DType::kF32) {
    plain_gemm_kernel<float><<<blocks, C::kThreads, 0, stream>>>(p);
  } else {
    plain_gemm_kernel<__nv_bfloat16><<<blocks, C::kThreads, 0, stream>>>(p);
  }
  return cudaPeekAtLastError();
}

}  // namespace intaglio::cuda
