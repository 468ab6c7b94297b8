#include <cmath>

#include "core/parallel_tasks.h"
#include "ops/cpu/group_norm_implementations.h"
#include "ops/nonlinearity.h"
#include "ops/ref/reference_math.h"

namespace intaglio::ref {
namespace {

template <typename T>
void normalize_group(const GroupNormDesc& d, int64_t g, const T* x, const float* weight,
                     const float* bias, T* y) {
  const int64_t size = d.channels / d.groups;
  const double count = static_cast<double>(d.pixels * size);
  const auto each = [&](auto&& visit) {
    for (int64_t p = 0; p < d.pixels; ++p) {
      for (int64_t c = g * size; c < (g + 1) * size; ++c) visit(p * d.channels + c, c);
    }
  };
  double sum = 0.0;
  each([&](int64_t i, int64_t) { sum += static_cast<double>(static_cast<float>(x[i])); });
  const double mean = sum / count;
  double square = 0.0;
  each([&](int64_t i, int64_t) {
    const double difference = static_cast<double>(static_cast<float>(x[i])) - mean;
    square += difference * difference;
  });
  const double inverse = 1.0 / std::sqrt(square / count + static_cast<double>(d.eps));
  each([&](int64_t i, int64_t c) {
    const double v = (static_cast<double>(static_cast<float>(x[i])) - mean) * inverse *
                         static_cast<double>(weight[c]) +
                     static_cast<double>(bias[c]);
    y[i] = static_cast<T>(static_cast<float>(d.silu ? activate<ReferenceMath>(Silu{}, v) : v));
  });
}

template <typename T>
Status normalize(const Context& context, const GroupNormDesc& d, const T* x, const float* weight,
                 const float* bias, T* y) {
  return parallel_tasks(context, d.groups, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t g = begin; g < end; ++g) normalize_group(d, g, x, weight, bias, y);
  });
}

}  // namespace

Status group_norm(const Context& context, const GroupNormDesc& desc, const GroupNormArgs& args) {
  if (desc.dtype == DType::kBF16) {
    return normalize(context, desc, static_cast<const BFloat16*>(args.x), args.weight, args.bias,
                     static_cast<BFloat16*>(args.y));
  }
  return normalize(context, desc, static_cast<const float*>(args.x), args.weight, args.bias,
                   static_cast<float*>(args.y));
}

}  // namespace intaglio::ref
