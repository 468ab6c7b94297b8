// RMSNorm of each head, then rotation by halves, in float64; each element is rounded to the
// buffer's type once.
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
                    int64_t head_dim, float eps) {
  double squares = 0.0;
  for (int64_t j = 0; j < head_dim; ++j) squares += load(x, j) * load(x, j);
  const double inverse =
      1.0 / std::sqrt(squares / static_cast<double>(head_dim) + static_cast<double>(eps));
  const int64_t half = head_dim / 2;
  for (int64_t j = 0; j < half; ++j) {
    const double a = load(x, j) * inverse * static_cast<double>(weight[j]);
    const double b = load(x, j + half) * inverse * static_cast<double>(weight[j + half]);
    const double c = static_cast<double>(cosine[j]);
    const double s = static_cast<double>(sine[j]);
    x[j] = T(static_cast<float>(a * c - b * s));
    x[j + half] = T(static_cast<float>(b * c + a * s));
  }
}

template <typename T>
void token_norm_rope(const AttentionDesc& desc, const QkNormRopeArgs& args, int64_t token) {
  const int64_t half = desc.head_dim / 2;
  const float* cosine = args.rope.cos + token * half;
  const float* sine = args.rope.sin + token * half;
  T* q = static_cast<T*>(args.q) + token * args.ld;
  T* k = static_cast<T*>(args.k) + token * args.ld;
  for (int64_t h = 0; h < desc.heads; ++h) {
    head_norm_rope(q + h * desc.head_dim, args.q_weight, cosine, sine, desc.head_dim, args.eps);
  }
  for (int64_t h = 0; h < desc.kv_heads; ++h) {
    head_norm_rope(k + h * desc.head_dim, args.k_weight, cosine, sine, desc.head_dim, args.eps);
  }
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
