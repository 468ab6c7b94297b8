#include <cmath>

#include "ops/cuda/kernels/plain_attention.cuh"
#include "ops/cuda/launch/plain_attention.h"

namespace intaglio::cuda {
namespace {

template <class Elements, int kPieces>
cudaError_t launch(const PlainAttentionArgs& args, cudaStream_t stream) {
  const int blocks = args.tiles_q * args.p.heads;
  plain_attention_kernel<Elements, kPieces><<<blocks, 32 * kPlainWarps, 0, stream>>>(args);
  return cudaPeekAtLastError();
}

template <class Elements>
cudaError_t launch_typed(const PlainAttentionArgs& args, cudaStream_t stream) {
  if (args.p.head_dim <= 128) return launch<Elements, 1>(args, stream);
  if (args.p.head_dim <= 256) return launch<Elements, 2>(args, stream);
  return launch<Elements, 4>(args, stream);
}

int64_t tiles_of(int tokens) { return (int64_t{tokens} + kPlainTileQ - 1) / kPlainTileQ; }

}  // namespace

const char* plain_attention_refusal(const AttentionParams& p, AttentionType type) {
  if (type != AttentionType::kF32 && type != AttentionType::kBF16) return "unknown type";
  if (p.tokens < 1 || p.heads < 1 || p.kv_heads < 1 || p.heads % p.kv_heads != 0)
    return "tokens, heads and kv_heads must be >= 1 and heads a multiple of kv_heads";
  if (p.head_dim < 4 || p.head_dim > 512 || p.head_dim % 4 != 0)
    return "head_dim must be a multiple of 4, at most 512";
  if (p.q == nullptr || p.k == nullptr || p.v == nullptr || p.out == nullptr)
    return "q, k, v and out must be given";
  const uintptr_t four = type == AttentionType::kF32 ? 16 : 8;
  for (const void* address : {p.q, p.k, p.v, static_cast<const void*>(p.out)}) {
    if (reinterpret_cast<uintptr_t>(address) % four != 0)
      return "q, k, v and out must be multiples of four elements";
  }
  if (p.ldq % 4 != 0 || p.ldk % 4 != 0 || p.ldv % 4 != 0 || p.ldo % 4 != 0)
    return "strides must be multiples of four elements";
  const int64_t q_width = int64_t{p.heads} * p.head_dim, k_width = int64_t{p.kv_heads} * p.head_dim;
  if (p.ldq < q_width || p.ldk < k_width || p.ldv < k_width || p.ldo < q_width)
    return "strides must hold all heads of a token";
  if (p.tokens > (1 << 30) || tiles_of(p.tokens) * p.heads > 0x7fffffff) return "too many blocks";
  return nullptr;
}

cudaError_t plain_attention(const AttentionParams& p, AttentionType type, cudaStream_t stream) {
  if (plain_attention_refusal(p, type) != nullptr) return cudaErrorInvalidValue;
  PlainAttentionArgs args{};
  args.p = p;
  args.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(p.head_dim)));
  args.tiles_q = static_cast<int32_t>(tiles_of(p.tokens));
  return type == AttentionType::kF32 ? launch_typed<F32Elements>(args, stream)
                                     : launch_typed<BF16Elements>(args, stream);
}

}  // namespace intaglio::cuda
