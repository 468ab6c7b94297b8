// RMSNorm of each head, then rotation in pairs, in float64; each element is rounded to the buffer's
// type once.
#include <cmath>

#include "core/parallel_tasks.h"
#include "ops/attention_implementations.h"

namespace intaglio {
namespace {

template <typename T>
double load(const T* x, int64_t i) {
  return static_cast<double>(static_cast<float>(x[i]));
}

template <typename T>
void head_norm_rope(T* x, const float* weight, const float* cosine, const float* sine,
                    RopePairing pairing, int64_t head_dim, float eps) {
  double inverse = 1.0;
  if (weight != nullptr) {
    double squares = 0.0;
    for (int64_t j = 0; j < head_dim; ++j) squares += load(x, j) * load(x, j);
    inverse = 1.0 / std::sqrt(squares / static_cast<double>(head_dim) + static_cast<double>(eps));
  }
  const auto normed = [&](int64_t i) {
    return weight == nullptr ? load(x, i) : load(x, i) * inverse * static_cast<double>(weight[i]);
  };
  const int64_t half = head_dim / 2;
  for (int64_t j = 0; j < half; ++j) {
    const int64_t first = pairing == RopePairing::kAdjacent ? 2 * j : j;
    const int64_t second = pairing == RopePairing::kAdjacent ? first + 1 : first + half;
    const double a = normed(first);
    const double b = normed(second);
    if (cosine == nullptr) {
      x[first] = T(static_cast<float>(a));
      x[second] = T(static_cast<float>(b));
      continue;
    }
    const double c = static_cast<double>(cosine[j]);
    const double s = static_cast<double>(sine[j]);
    x[first] = T(static_cast<float>(a * c - b * s));
    x[second] = T(static_cast<float>(b * c + a * s));
  }
}

template <typename T>
void token_norm_rope(const AttentionDesc& desc, const QkNormRopeArgs& args, int64_t token) {
  const bool turns = args.rope.cos != nullptr;
  const float* cosine = turns ? args.rope.cos + token * (desc.head_dim / 2) : nullptr;
  const float* sine = turns ? args.rope.sin + token * (desc.head_dim / 2) : nullptr;
  const auto heads = [&](void* data, int64_t count, const float* weight) {
    T* const x = static_cast<T*>(data) + token * args.ld;
    for (int64_t h = 0; h < count; ++h)
      head_norm_rope(x + h * desc.head_dim, weight, cosine, sine, args.pairing, desc.head_dim,
                     args.eps);
  };
  heads(args.q, desc.heads, args.q_weight);
  heads(args.k, desc.kv_heads, args.k_weight);
}

}  // namespace

Status ref_qk_norm_rope(const Context& context, const AttentionDesc& desc,
                        const QkNormRopeArgs& args) {
  INTAGLIO_TRY(parallel_tasks(context, desc.tokens, 4, [&](int64_t begin, int64_t end, int) {
    for (int64_t token = begin; token < end; ++token) {
      if (desc.dtype == DType::kBF16) {
        token_norm_rope<BFloat16>(desc, args, token);
      } else {
        token_norm_rope<float>(desc, args, token);
      }
    }
  }));
  return {};
}

}  // namespace intaglio
