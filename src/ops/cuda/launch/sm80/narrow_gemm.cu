#include <array>

#include "ops/cuda/kernels/narrow_gemm.cuh"
#include "ops/cuda/launch/arguments.h"
#include "ops/cuda/launch/dynamic_shared.h"
#include "ops/cuda/launch/narrow_gemm.h"

namespace intaglio::cuda {
namespace {

constexpr int64_t kMostRows = int64_t{1} << 31;
constexpr int64_t kMostK = int64_t{1} << 31;

template <int kBlocks>
cudaError_t launch(const PlainGemmParams& p, cudaStream_t stream) {
  using C = NarrowGemmConfig<kBlocks>;
  const auto blocks = static_cast<unsigned>(div_up(p.m, C::kRows));
  if (const cudaError_t status = allow_dynamic_shared(narrow_gemm_kernel<C>, C::kSmemBytes);
      status != cudaSuccess)
    return status;
  narrow_gemm_kernel<C><<<blocks, C::kThreads, C::kSmemBytes, stream>>>(p);
  return cudaPeekAtLastError();
}

using LaunchFunction = cudaError_t (*)(const PlainGemmParams&, cudaStream_t);
constexpr std::array<LaunchFunction, 4> kLaunchers{launch<2>, launch<4>, launch<6>, launch<8>};

}  // namespace

const char* narrow_gemm_refusal(const PlainGemmParams& p) {
  if (p.type != DType::kBF16) return "operands are not BF16";
  if (p.out_type != DType::kBF16 && p.out_type != DType::kF32) return "the result is no float";
  if (!is_narrow(p.n)) return "n is not 16, 32, 48 or 64";
  if (p.bias != nullptr) return "it adds no bias";
  if (p.m < 0 || p.m >= kMostRows || p.k < 1 || p.k >= kMostK) return "sizes must be below 2^31";
  const bool pieces = p.k % 8 == 0 && p.lda % 8 == 0 && p.ldw % 8 == 0 && is_aligned(p.a, 16) &&
                      is_aligned(p.w, 16);
  return pieces ? nullptr : "rows are no whole pieces of 16 bytes";
}

cudaError_t narrow_gemm(const PlainGemmParams& p, cudaStream_t stream) {
  if (narrow_gemm_refusal(p) != nullptr) return cudaErrorInvalidValue;
  if (p.m == 0) return cudaSuccess;
  return kLaunchers[static_cast<size_t>(p.n / 16 - 1)](p, stream);
}

}  // namespace intaglio::cuda
