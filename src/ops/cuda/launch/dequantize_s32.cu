#include "ops/cuda/kernels/dequantize_s32.cuh"
#include "ops/cuda/launch/dequantize_s32.h"

namespace intaglio::cuda {

const char* dequantize_s32_refusal(const S8GemmParams& p, const int32_t* sums) {
  constexpr int64_t kMostOutputs = int64_t{1} << 33;  // quads are counted in 32 bits
  if (p.m < 1 || p.n < 1) return "m and n must be at least 1";
  if (int64_t{p.m} * p.n > kMostOutputs) return "more than 2^33 outputs";
  if (p.out_type != DType::kBF16 || p.epilogue != GemmEpilogue::kNone)
    return "the pass writes bf16 without epilogue";
  if (p.n % 4 != 0) return "the pass needs n % 4 == 0";
  if (p.ldo != p.n) return "the pass writes dense rows";
  for (const void* pointer :
       {static_cast<const void*>(sums), static_cast<const void*>(p.w_scale_col),
        static_cast<const void*>(p.bias), static_cast<const void*>(p.out)}) {
    if (pointer == nullptr) return "sums, scales, bias or out is null";
    if (reinterpret_cast<uintptr_t>(pointer) % 16 != 0)
      return "sums, scales, bias or out is not aligned to 16 bytes";
  }
  return p.a_scale_row != nullptr ? nullptr : "sums, scales, bias or out is null";
}

cudaError_t dequantize_s32(const S8GemmParams& p, const int32_t* sums, cudaStream_t stream) {
  if (dequantize_s32_refusal(p, sums) != nullptr) return cudaErrorInvalidValue;
  constexpr int64_t kOfBlock = kDequantizeS32Threads * kDequantizeS32Quads;
  const int64_t quads = int64_t{p.m} * (p.n / 4);
  dequantize_s32_kernel<<<static_cast<unsigned>((quads + kOfBlock - 1) / kOfBlock),
                          kDequantizeS32Threads, 0, stream>>>(p, sums);
  return cudaPeekAtLastError();
}

}  // namespace intaglio::cuda
