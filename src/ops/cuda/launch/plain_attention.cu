#include <cmath>

#include "ops/cuda/kernels/plain_attention.cuh"
#include "ops/cuda/launch/plain_attention.h"

namespace intaglio::cuda {
namespace {

int64_t tiles_of(int tokens, int rows) {
  return (int64_t{tokens} + kPlainWarps * rows - 1) / (kPlainWarps * rows);
}

int rows_of(int head_dim) { return head_dim <= 512 ? kPlainRows : plain_rows(8); }

template <class Elements, int kPieces>
cudaError_t launch(PlainAttentionArgs args, cudaStream_t stream) {
  args.tiles_q = static_cast<int32_t>(tiles_of(args.p.tokens, plain_rows(kPieces)));
  const int blocks = args.tiles_q * args.p.heads;
  plain_attention_kernel<Elements, kPieces><<<blocks, 32 * kPlainWarps, 0, stream>>>(args);
  return cudaPeekAtLastError();
}

// Whether everything lies at multiples of four elements.
bool is_whole(const AttentionParams& p, AttentionType type) {
  const uintptr_t four = type == AttentionType::kF32 ? 16 : 8;
  for (const void* address : {p.q, p.k, p.v, static_cast<const void*>(p.out)})
    if (reinterpret_cast<uintptr_t>(address) % four != 0) return false;
  return p.head_dim % 4 == 0 && p.ldq % 4 == 0 && p.ldk % 4 == 0 && p.ldv % 4 == 0 &&
         p.ldo % 4 == 0;
}

template <class Elements, class AnyElements>
cudaError_t launch_typed(const PlainAttentionArgs& args, bool whole, cudaStream_t stream) {
  if (args.p.head_dim > 512) return launch<AnyElements, 8>(args, stream);
  if (!whole) {
    return args.p.head_dim <= 128 ? launch<AnyElements, 1>(args, stream)
                                  : launch<AnyElements, 4>(args, stream);
  }
  if (args.p.head_dim <= 128) return launch<Elements, 1>(args, stream);
  if (args.p.head_dim <= 256) return launch<Elements, 2>(args, stream);
  return launch<Elements, 4>(args, stream);
}

}  // namespace

const char* plain_attention_refusal(const AttentionParams& p, AttentionType type) {
  if (type != AttentionType::kF32 && type != AttentionType::kBF16) return "unknown type";
  if (p.tokens < 1 || p.heads < 1 || p.kv_heads < 1 || p.heads % p.kv_heads != 0)
    return "tokens, heads and kv_heads must be >= 1 and heads a multiple of kv_heads";
  if (p.keys < 0 || p.keys > (1 << 30)) return "keys must be 0 to 2^30";
  if (p.keys != 0 && p.keys != p.tokens && p.causal != 0)
    return "a causal mask takes as many keys as tokens";
  if (p.head_dim < 1 || p.head_dim > kPlainMostHead) return "the head size must be 1 to 1024";
  if (p.q == nullptr || p.k == nullptr || p.v == nullptr || p.out == nullptr)
    return "q, k, v and out must be given";
  const uintptr_t element = type == AttentionType::kF32 ? 4 : 2;
  for (const void* address : {p.q, p.k, p.v, static_cast<const void*>(p.out)}) {
    if (reinterpret_cast<uintptr_t>(address) % element != 0)
      return "q, k, v or out is not aligned to its type";
  }
  const int64_t q_width = int64_t{p.heads} * p.head_dim, k_width = int64_t{p.kv_heads} * p.head_dim;
  if (p.ldq < q_width || p.ldk < k_width || p.ldv < k_width || p.ldo < q_width)
    return "strides must hold all heads of a token";
  if (p.tokens > (1 << 30) || tiles_of(p.tokens, rows_of(p.head_dim)) * p.heads > 0x7fffffff)
    return "too many blocks";
  return nullptr;
}

cudaError_t plain_attention(const AttentionParams& p, AttentionType type, cudaStream_t stream) {
  if (plain_attention_refusal(p, type) != nullptr) return cudaErrorInvalidValue;
  PlainAttentionArgs args{};
  args.p = p;
  args.keys = p.keys == 0 ? p.tokens : p.keys;
  args.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(p.head_dim)));
  const bool whole = is_whole(p, type);
  return type == AttentionType::kF32
             ? launch_typed<F32Elements, AnyF32Elements>(args, whole, stream)
             : launch_typed<BF16Elements, AnyBF16Elements>(args, whole, stream);
}

}  // namespace intaglio::cuda
