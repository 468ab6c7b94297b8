#include "ops/cuda/kernels/s8_values.cuh"
#include "ops/cuda/launch/arguments.h"
#include "ops/cuda/launch/s8_values.h"

namespace intaglio::cuda {
namespace {

template <class Type>
void launch(const S8ValuesParams& p, cudaStream_t stream) {
  const auto heads = static_cast<unsigned>(p.kv_heads);
  const dim3 chunks(static_cast<unsigned>(s8_value_chunks(p.tokens)), heads);
  const dim3 slices(static_cast<unsigned>(div_up(p.head_dim, kS8ValuesThreads)), heads);
  const dim3 groups(static_cast<unsigned>(s8_value_groups(p.tokens)), heads);
  s8_value_sums<Type><<<chunks, kS8ValuesThreads, 0, stream>>>(p);
  s8_value_scales<<<slices, kS8ValuesThreads, 0, stream>>>(p);
  s8_value_quantize<Type><<<groups, kS8ValuesThreads, 0, stream>>>(p);
}

}  // namespace

const char* s8_values_refusal(const S8ValuesParams& p) {
  if (p.type != DType::kF32 && p.type != DType::kBF16) return "v must be f32 or bf16";
  if (p.tokens < 1 || p.tokens > (1 << 24)) return "tokens must be 1 to 2^24";
  if (p.kv_heads < 1 || p.kv_heads > 65535) return "kv_heads must be 1 to 65535";
  if (p.head_dim < 1 || p.head_dim > (1 << 24)) return "head_dim must be 1 to 2^24";
  if (p.ldv < int64_t{p.kv_heads} * p.head_dim) return "ldv is below the heads of a token";
  if (p.v == nullptr || p.values == nullptr || p.scale == nullptr || p.mean == nullptr)
    return "v, values, scale and mean must be given";
  if (!is_aligned(p.v, p.type == DType::kF32 ? 4 : 2)) return "v is not aligned to its type";
  return is_aligned(p.values, 16) ? nullptr : "the values are not aligned to 16 bytes";
}

size_t s8_values_workspace_bytes(const S8ValuesParams& p) {
  return 3 * sizeof(float) * static_cast<size_t>(p.kv_heads) *
         static_cast<size_t>(s8_value_chunks(p.tokens)) * static_cast<size_t>(p.head_dim);
}

cudaError_t s8_values(const S8ValuesParams& p, cudaStream_t stream) {
  if (s8_values_refusal(p) != nullptr || p.workspace == nullptr) return cudaErrorInvalidValue;
  p.type == DType::kF32 ? launch<F32>(p, stream) : launch<BF16>(p, stream);
  return cudaPeekAtLastError();
}

}  // namespace intaglio::cuda
