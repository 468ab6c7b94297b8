// Attention in plain loops and float64: all logits of one query row, softmax, then the weighted sum
// of v; of int8 heads the weighted sum of int8 values.
#include <algorithm>
#include <cmath>
#include <limits>

#include "core/parallel_tasks.h"
#include "ops/attention_implementations.h"
#include "ops/s8_values_implementations.h"

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

// The same of int8 heads and values: the formula of AttentionValues::kS8.
template <typename T>
void attend_s8(const AttentionDesc& desc, const AttentionArgs& args, const QuantizedValues& v,
               int64_t token, int64_t head, double* row, double* sums) {
  const int64_t d = desc.head_dim, keys = desc.tokens;
  const int64_t kv_head = head / (desc.heads / desc.kv_heads);
  const int8_t* q = args.s8.q + (head * keys + token) * d;
  const int8_t* k = args.s8.k + kv_head * keys * d;
  const float* k_scale = args.s8.k_scale + kv_head * ((keys + kS8KeyBlock - 1) / kS8KeyBlock);
  const double scale =
      static_cast<double>(args.s8.q_scale[head * keys + token]) / std::sqrt(static_cast<double>(d));
  double largest = -std::numeric_limits<double>::infinity();
  for (int64_t s = 0; s < keys; ++s) {
    int32_t sum = 0;
    for (int64_t j = 0; j < d; ++j) sum += int32_t{q[j]} * k[s * d + j];
    row[s] = sum * scale * static_cast<double>(k_scale[s / kS8KeyBlock]);
    largest = std::fmax(largest, row[s]);
  }
  double total = 0.0;
  for (int64_t j = 0; j < d; ++j) sums[j] = 0.0;
  const int64_t groups = (keys + kS8ValueKeys - 1) / kS8ValueKeys;
  const int8_t* group = v.values + kv_head * groups * d * kS8ValueKeys;
  for (int64_t first = 0; first < keys; first += kS8ValueKeys, group += d * kS8ValueKeys) {
    double reference = -std::numeric_limits<double>::infinity();
    for (int64_t s = first; s < std::min(keys, first + kS8ValueKeys); ++s)
      reference = std::fmax(reference, row[s]);
    const double factor = std::exp(reference - largest);
    for (int position = 0; position < kS8ValueKeys; ++position) {
      const int64_t s = first + s8_value_key(position);
      if (s >= keys) continue;
      const double weight = std::exp(row[s] - reference);
      const double p = std::nearbyint(255.0 * weight);
      total += factor * weight;
      for (int64_t j = 0; j < d; ++j)
        sums[j] += factor * p * static_cast<double>(group[j * kS8ValueKeys + position]);
    }
  }
  T* out = static_cast<T*>(args.out) + token * output_stride(desc, args) + head * d;
  for (int64_t j = 0; j < d; ++j) {
    const double y = static_cast<double>(v.mean[kv_head * d + j]) +
                     static_cast<double>(v.scale[kv_head * d + j]) * sums[j] / (255.0 * total);
    out[j] = T(static_cast<float>(y));
  }
}

}  // namespace

size_t ref_attention_scratch_bytes(const AttentionDesc& desc, int threads) {
  const size_t values = desc.values == AttentionValues::kS8
                            ? quantized_values_bytes(desc.tokens, desc.kv_heads, desc.head_dim)
                            : 0;
  return values +
         arena_bytes<double>(usable_threads(threads) * (desc.key_tokens() + desc.head_dim));
}

Status ref_attention(const Context& context, const AttentionDesc& desc, const AttentionArgs& args) {
  Arena::Scope scope(*context.scratch);
  const int64_t stride = desc.key_tokens() + desc.head_dim;
  QuantizedValues values;
  if (desc.values == AttentionValues::kS8) {
    INTAGLIO_ASSIGN(
        values, take_quantized_values(*context.scratch, desc.tokens, desc.kv_heads, desc.head_dim));
    INTAGLIO_TRY(ref::quantize_values(context, {.v = args.v,
                                                .ldv = args.ldv,
                                                .tokens = desc.tokens,
                                                .kv_heads = desc.kv_heads,
                                                .head_dim = desc.head_dim,
                                                .dtype = desc.dtype,
                                                .out = values}));
  }
  INTAGLIO_ASSIGN(double* scratch,
                  context.scratch->take<double>(usable_threads(context.threads) * stride));
  INTAGLIO_TRY(parallel_tasks(
      context, desc.tokens * desc.heads, 1, [&](int64_t begin, int64_t end, int thread) {
        double* row = scratch + thread * stride;
        double* sums = row + desc.key_tokens();
        for (int64_t i = begin; i < end; ++i) {
          const int64_t token = i / desc.heads, head = i % desc.heads;
          const bool is_s8 = desc.values == AttentionValues::kS8;
          if (desc.dtype == DType::kBF16) {
            is_s8 ? attend_s8<BFloat16>(desc, args, values, token, head, row, sums)
                  : attend<BFloat16>(desc, args, token, head, row, sums);
          } else {
            is_s8 ? attend_s8<float>(desc, args, values, token, head, row, sums)
                  : attend<float>(desc, args, token, head, row, sums);
          }
        }
      }));
  return {};
}

}  // namespace intaglio
