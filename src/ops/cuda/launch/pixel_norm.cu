#include "ops/cuda/kernels/pixel_norm.cuh"
#include "ops/cuda/launch/arguments.h"
#include "ops/cuda/launch/pixel_norm.h"

namespace intaglio::cuda {
namespace {

template <class Type, bool kVector>
void launch_silu(const PixelNormParams& p, unsigned blocks, cudaStream_t stream) {
  if (p.silu) {
    pixel_norm_kernel<Type, kVector, true><<<blocks, kPixelNormThreads, 0, stream>>>(p);
  } else {
    pixel_norm_kernel<Type, kVector, false><<<blocks, kPixelNormThreads, 0, stream>>>(p);
  }
}

template <class Type>
void launch(const PixelNormParams& p, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>(div_up(p.pixels, int64_t{kPixelNormThreads / 32}));
  const bool vector = p.channels % kRowPiece == 0 && is_aligned(p.x, 16) && is_aligned(p.y, 16) &&
                      is_aligned(p.weight, 16);
  vector ? launch_silu<Type, true>(p, blocks, stream) : launch_silu<Type, false>(p, blocks, stream);
}

}  // namespace

const char* pixel_norm_refusal(const PixelNormParams& p) {
  if (p.type != DType::kF32 && p.type != DType::kBF16) return "x and y must be f32 or bf16";
  if (p.pixels < 0 || p.pixels > (int64_t{1} << 33)) return "pixels must be 0 to 2^33";
  if (p.channels < 1 || p.channels > 65536) return "channels must be 1 to 65536";
  if (p.pixels == 0) return nullptr;
  if (p.x == nullptr || p.y == nullptr || p.weight == nullptr)
    return "x, y and weight must be given";
  const uintptr_t bytes = p.type == DType::kF32 ? 4 : 2;
  return is_aligned(p.x, bytes) && is_aligned(p.y, bytes) && is_aligned(p.weight, 4)
             ? nullptr
             : "a pointer is not aligned to its type";
}

cudaError_t pixel_norm(const PixelNormParams& p, cudaStream_t stream) {
  if (pixel_norm_refusal(p) != nullptr) return cudaErrorInvalidValue;
  if (p.pixels == 0) return cudaSuccess;
  p.type == DType::kF32 ? launch<F32>(p, stream) : launch<BF16>(p, stream);
  return cudaPeekAtLastError();
}

}  // namespace intaglio::cuda
