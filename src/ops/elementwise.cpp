#include "ops/elementwise.h"

#include <cmath>
#include <cstring>

#include "core/parallel.h"

namespace intaglio {
namespace {

constexpr int64_t kGrain =
    1
    << 14;  // elements a thread takes at once: long enough to hide the hand-out, short enough to balance

}  // namespace

void convert_elements(const Context& context, const void* source, DType source_dtype, void* target,
                      DType target_dtype, int64_t count) {
  parallel_for(context.threads, count, kGrain, [&](int64_t begin, int64_t end, int) {
    if (source_dtype == target_dtype) {
      const size_t size = dtype_size(source_dtype);
      std::memcpy(static_cast<std::byte*>(target) + static_cast<size_t>(begin) * size,
                  static_cast<const std::byte*>(source) + static_cast<size_t>(begin) * size,
                  static_cast<size_t>(end - begin) * size);
    } else if (target_dtype == DType::kBF16) {
      const auto* from = static_cast<const float*>(source);
      auto* to = static_cast<BFloat16*>(target);
      for (int64_t i = begin; i < end; ++i) to[i] = BFloat16(from[i]);
    } else {
      const auto* from = static_cast<const BFloat16*>(source);
      auto* to = static_cast<float*>(target);
      for (int64_t i = begin; i < end; ++i) to[i] = static_cast<float>(from[i]);
    }
  });
}

void silu_in_place(const Context& context, float* x, int64_t count) {
  parallel_for(context.threads, count, kGrain, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) x[i] = x[i] / (1.0f + std::exp(-x[i]));
  });
}

void add_in_place(const Context& context, float* h, const void* y, DType y_dtype, int64_t count) {
  parallel_for(context.threads, count, kGrain, [&](int64_t begin, int64_t end, int) {
    if (y_dtype == DType::kF32) {
      const auto* from = static_cast<const float*>(y);
      for (int64_t i = begin; i < end; ++i) h[i] += from[i];
    } else {
      const auto* from = static_cast<const BFloat16*>(y);
      for (int64_t i = begin; i < end; ++i) h[i] += static_cast<float>(from[i]);
    }
  });
}

}  // namespace intaglio
