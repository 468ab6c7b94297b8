// Attention in plain loops and float64: all logits of one query row, softmax, then the weighted sum
// of v.
#include <cmath>
#include <limits>

#include "core/parallel_tasks.h"
#include "ops/attention_implementations.h"

namespace intaglio {
namespace {

template <typename T>
double load(const T* x, int64_t i) {
  return static_cast<double>(static_cast<float>(x[i]));
}

// One query row of one head. `row`: [keys] logits, then weights; `sums`: [head_dim].
template <typename T>
void attend(const AttentionDesc& desc, const AttentionArgs& args, int64_t token, int64_t head,
            double* row, double* sums) {
  const int64_t d = desc.head_dim;
  const int64_t kv_head = head / (desc.heads / desc.kv_heads);
  const T* q = static_cast<const T*>(args.q) + token * args.ldq + head * d;
  const T* k = static_cast<const T*>(args.k) + kv_head * d;
  const T* v = static_cast<const T*>(args.v) + kv_head * d;
  T* out = static_cast<T*>(args.out) + token * output_stride(desc, args) + head * d;
  const int64_t keys = desc.causal ? token + 1 : desc.key_tokens();
  const double scale = 1.0 / std::sqrt(static_cast<double>(d));

  double largest = -std::numeric_limits<double>::infinity();
  for (int64_t s = 0; s < keys; ++s) {
    double sum = 0.0;
    for (int64_t j = 0; j < d; ++j) sum += load(q, j) * load(k, s * args.ldk + j);
    row[s] = sum * scale;
    largest = std::fmax(largest, row[s]);
  }
  double total = 0.0;
  for (int64_t j = 0; j < d; ++j) sums[j] = 0.0;
  for (int64_t s = 0; s < keys; ++s) {
    const double p = std::exp(row[s] - largest);
    total += p;
    for (int64_t j = 0; j < d; ++j) sums[j] += p * load(v, s * args.ldv + j);
  }
  for (int64_t j = 0; j < d; ++j) out[j] = T(static_cast<float>(sums[j] / total));
}

}  // namespace

size_t ref_attention_scratch_bytes(const AttentionDesc& desc, int threads) {
  return arena_bytes<double>(usable_threads(threads) * (desc.key_tokens() + desc.head_dim));
}

Status ref_attention(const Context& context, const AttentionDesc& desc, const AttentionArgs& args) {
  Arena::Scope scope(*context.scratch);
  const int64_t stride = desc.key_tokens() + desc.head_dim;
  INTAGLIO_ASSIGN(double* scratch,
                  context.scratch->take<double>(usable_threads(context.threads) * stride));
  INTAGLIO_TRY(parallel_tasks(
      context, desc.tokens * desc.heads, 1, [&](int64_t begin, int64_t end, int thread) {
        double* row = scratch + thread * stride;
        double* sums = row + desc.key_tokens();
        for (int64_t i = begin; i < end; ++i) {
          if (desc.dtype == DType::kBF16) {
            attend<BFloat16>(desc, args, i / desc.heads, i % desc.heads, row, sums);
          } else {
            attend<float>(desc, args, i / desc.heads, i % desc.heads, row, sums);
          }
        }
      }));
  return {};
}

}  // namespace intaglio
