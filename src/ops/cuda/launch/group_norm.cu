#include "ops/cuda/kernels/group_norm.cuh"
#include "ops/cuda/launch/arguments.h"
#include "ops/cuda/launch/group_norm.h"

namespace intaglio::cuda {
namespace {

uintptr_t bytes_of(DType type) { return type == DType::kF32 ? 4 : 2; }

int elements_of_piece(DType type) { return static_cast<int>(16 / bytes_of(type)); }

bool is_fast(const GroupNormParams& p) {
  const int piece = elements_of_piece(p.type);
  return p.channels % piece == 0 && p.channels / piece <= kGroupNormThreads &&
         is_aligned(p.x, 16) && is_aligned(p.y, 16) && is_aligned(p.weight, 16) &&
         is_aligned(p.bias, 16);
}

// Depends on sizes alone, not on pointers or the device: the workspace is planned before they are
// known, and the order of sums is the same everywhere.
int sum_blocks(const GroupNormParams& p) {
  const int64_t pieces = div_up(p.channels, elements_of_piece(p.type));
  const int64_t rows = pieces < kGroupNormThreads ? kGroupNormThreads / pieces : 1;
  const int64_t blocks = div_up(p.pixels, rows * kGroupNormUnroll);
  return static_cast<int>(blocks < kGroupNormMostBlocks ? blocks : kGroupNormMostBlocks);
}

template <class Type>
void launch(const GroupNormArgs& a, cudaStream_t stream) {
  const GroupNormParams& p = a.p;
  const auto blocks = static_cast<unsigned>(a.blocks);
  if (!is_fast(p)) {
    constexpr int64_t kMostBlocks = 1 << 20;
    group_norm_sums_any<Type>
        <<<dim3(blocks, static_cast<unsigned>(p.groups)), kGroupNormThreads, 0, stream>>>(a);
    group_norm_finish<<<static_cast<unsigned>(p.groups), kGroupNormFinishThreads, 0, stream>>>(a);
    const int64_t wanted = div_up(p.pixels * p.channels, kGroupNormThreads);
    group_norm_apply_any<Type><<<static_cast<unsigned>(wanted < kMostBlocks ? wanted : kMostBlocks),
                                 kGroupNormThreads, 0, stream>>>(a);
    return;
  }
  group_norm_sums<Type><<<blocks, kGroupNormThreads, 0, stream>>>(a);
  group_norm_finish<<<static_cast<unsigned>(p.groups), kGroupNormFinishThreads, 0, stream>>>(a);
  const int rows = kGroupNormThreads / (p.channels / ChannelPiece<Type>::kElements);
  const auto grid = static_cast<unsigned>(
      div_up(p.pixels, int64_t{rows} * kGroupNormUnroll * kGroupNormApplyRounds));
  if (p.silu) {
    group_norm_apply<Type, true><<<grid, kGroupNormThreads, 0, stream>>>(a);
  } else {
    group_norm_apply<Type, false><<<grid, kGroupNormThreads, 0, stream>>>(a);
  }
}

}  // namespace

const char* group_norm_sizes_refusal(const GroupNormParams& p) {
  if (p.type != DType::kF32 && p.type != DType::kBF16) return "x and y must be f32 or bf16";
  if (p.pixels < 0 || p.pixels > (int64_t{1} << 34)) return "pixels must be 0 to 2^34";
  if (p.channels < 1 || p.channels > kMostGroupNormChannels) return "channels must be 1 to 65536";
  if (p.groups < 1 || p.groups > 65535 || p.channels % p.groups != 0)
    return "groups must be 1 to 65535 and divide channels";
  return p.eps >= 0.0f ? nullptr : "eps must be >= 0";
}

const char* group_norm_refusal(const GroupNormParams& p) {
  if (const char* reason = group_norm_sizes_refusal(p)) return reason;
  if (p.pixels == 0) return nullptr;
  if (p.x == nullptr || p.y == nullptr || p.weight == nullptr || p.bias == nullptr)
    return "x, y, weight and bias must be given";
  if (!is_aligned(p.x, bytes_of(p.type)) || !is_aligned(p.y, bytes_of(p.type)))
    return "x or y is not aligned to its type";
  if (p.workspace == nullptr) return "the workspace must be given";
  return is_aligned(p.workspace, 16) ? nullptr : "the workspace is not aligned to 16 bytes";
}

size_t group_norm_workspace_bytes(const GroupNormParams& p) {
  return static_cast<size_t>(sum_blocks(p)) * static_cast<size_t>(p.groups) * 2 * sizeof(double) +
         static_cast<size_t>(p.channels) * 2 * sizeof(float);
}

cudaError_t group_norm(const GroupNormParams& p, cudaStream_t stream) {
  if (group_norm_refusal(p) != nullptr) return cudaErrorInvalidValue;
  if (p.pixels == 0) return cudaSuccess;
  const int blocks = sum_blocks(p);
  const GroupNormArgs args{p, blocks, div_up(p.pixels, blocks)};
  p.type == DType::kF32 ? launch<F32>(args, stream) : launch<BF16>(args, stream);
  return cudaPeekAtLastError();
}

}  // namespace intaglio::cuda
