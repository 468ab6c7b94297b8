#include "ops/cuda/kernels/qk_norm_rope.cuh"
#include "ops/cuda/kernels/slow_qk_norm_rope.cuh"
#include "ops/cuda/launch/arguments.h"
#include "ops/cuda/launch/qk_norm_rope.h"

namespace intaglio::cuda {
namespace {

int64_t bytes_of(DType type) { return type == DType::kF32 ? 4 : 2; }

bool is_fast(const QkNormRopeParams& p) {
  if (p.head_dim != 64 && p.head_dim != 128 && p.head_dim != 256) return false;
  for (const void* pointer :
       {static_cast<const void*>(p.q), static_cast<const void*>(p.k),
        static_cast<const void*>(p.q_weight), static_cast<const void*>(p.k_weight),
        static_cast<const void*>(p.cos), static_cast<const void*>(p.sin),
        static_cast<const void*>(p.q8), static_cast<const void*>(p.k8)}) {
    if (!is_aligned(pointer, 16)) return false;
  }
  return p.ld * bytes_of(p.type) % 16 == 0;
}

unsigned as_grid(int64_t blocks) { return static_cast<unsigned>(blocks); }

void launch_key_means(const QkNormRopeParams& p, cudaStream_t stream) {
  const int slices = (p.head_dim + kKeyMeanChannels - 1) / kKeyMeanChannels;
  key_means<<<as_grid(int64_t{p.kv_heads} * slices), kKeyMeanChannels * kKeyMeanRows, 0, stream>>>(
      p);
}

template <class Type, int kHeadDim, HeadSteps kSteps>
void launch_steps(const QkNormRopeParams& p, cudaStream_t stream) {
  if (p.q8 == nullptr) {
    norm_rope_tokens<Type, kHeadDim, kSteps><<<as_grid(p.tokens), kNormRopeThreads, 0, stream>>>(p);
    return;
  }
  constexpr int kKeyHeads = HeadConfig<kHeadDim>::kKeyHeads;
  const int64_t of_keys = key_blocks(p) * ((p.kv_heads + kKeyHeads - 1) / kKeyHeads);
  norm_rope_int8<Type, kHeadDim, kSteps>
      <<<as_grid(of_keys + (p.heads > 0 ? p.tokens : 0)), kNormRopeThreads, 0, stream>>>(p);
  launch_key_means(p, stream);
  quantize_keys<Type, kHeadDim>
      <<<as_grid(key_blocks(p) * p.kv_heads), kQuantizeKeysThreads, 0, stream>>>(p);
}

template <class Type, int kHeadDim>
void launch_fast(const QkNormRopeParams& p, cudaStream_t stream) {
  switch (head_steps(p)) {
    case HeadSteps::kHalves:
      return launch_steps<Type, kHeadDim, HeadSteps::kHalves>(p, stream);
    case HeadSteps::kAdjacent:
      return launch_steps<Type, kHeadDim, HeadSteps::kAdjacent>(p, stream);
    case HeadSteps::kAsked:
      return launch_steps<Type, kHeadDim, HeadSteps::kAsked>(p, stream);
  }
}

template <class Type>
void launch_slow(const QkNormRopeParams& p, cudaStream_t stream) {
  constexpr int64_t kMostBlocks = 1 << 20;
  constexpr int kWarps = kNormRopeThreads / 32;
  const int64_t blocks = (p.tokens * (p.heads + p.kv_heads) + kWarps - 1) / kWarps;
  slow_norm_rope<Type>
      <<<as_grid(blocks < kMostBlocks ? blocks : kMostBlocks), kNormRopeThreads, 0, stream>>>(p);
  if (p.q8 == nullptr) return;
  const unsigned grid = as_grid(key_blocks(p) * p.kv_heads);
  slow_key_sums<Type><<<grid, kNormRopeThreads, 0, stream>>>(p);
  launch_key_means(p, stream);
  slow_quantize_keys<Type><<<grid, kNormRopeThreads, 0, stream>>>(p);
}

template <class Type>
void launch(const QkNormRopeParams& p, cudaStream_t stream) {
  if (!is_fast(p)) {
    launch_slow<Type>(p, stream);
  } else if (p.head_dim == 64) {
    launch_fast<Type, 64>(p, stream);
  } else if (p.head_dim == 128) {
    launch_fast<Type, 128>(p, stream);
  } else {
    launch_fast<Type, 256>(p, stream);
  }
}

}  // namespace

const char* qk_norm_rope_refusal(const QkNormRopeParams& p) {
  if (p.type != DType::kF32 && p.type != DType::kBF16) return "q and k must be f32 or bf16";
  if (p.tokens < 0 || p.tokens > (1 << 24)) return "tokens must be 0 to 2^24";
  if (p.heads < (p.q8 == nullptr ? 1 : 0) || p.kv_heads < 1 || p.heads > 1024 || p.kv_heads > 1024)
    return "heads and kv_heads must be 1 to 1024, heads 0 too with q8";
  if (p.head_dim < 2 || p.head_dim > 4096 || p.head_dim % 2 != 0)
    return "head_dim must be even, 2 to 4096";
  const int most_heads = p.heads > p.kv_heads ? p.heads : p.kv_heads;
  if (p.ld < int64_t{most_heads} * p.head_dim) return "ld is below the heads of a token";
  if (!(p.eps >= 0.0f)) return "eps must be >= 0";
  if (p.pairing != RopePairing::kHalves && p.pairing != RopePairing::kAdjacent)
    return "unknown pairing";
  if (p.tokens == 0) return nullptr;
  if ((p.q == nullptr && p.heads > 0) || p.k == nullptr) return "q and k must be given";
  if ((p.cos == nullptr) != (p.sin == nullptr)) return "cos and sin must be given together";
  if (!is_aligned(p.q, bytes_of(p.type)) || !is_aligned(p.k, bytes_of(p.type)))
    return "q or k is not aligned to its type";
  if (p.q8 == nullptr) return nullptr;
  if (p.q_scale == nullptr || p.k8 == nullptr || p.k_scale == nullptr)
    return "int8 needs q8, q_scale, k8 and k_scale";
  if (p.workspace == nullptr) return "int8 needs a workspace";
  return is_aligned(p.workspace, 16) ? nullptr : "the workspace is not aligned to 16 bytes";
}

size_t qk_norm_rope_workspace_bytes(const QkNormRopeParams& p) {
  if (p.q8 == nullptr) return 0;
  return static_cast<size_t>(p.kv_heads) * static_cast<size_t>(p.head_dim) *
         static_cast<size_t>(key_blocks(p) + 1) * sizeof(float);
}

cudaError_t qk_norm_rope(const QkNormRopeParams& p, cudaStream_t stream) {
  if (qk_norm_rope_refusal(p) != nullptr) return cudaErrorInvalidValue;
  if (p.tokens == 0) return cudaSuccess;
  p.type == DType::kF32 ? launch<F32>(p, stream) : launch<BF16>(p, stream);
  return cudaPeekAtLastError();
}

}  // namespace intaglio::cuda
