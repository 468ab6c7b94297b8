#include "ops/elementwise.h"

#include <cmath>
#include <cstring>

#include "core/parallel_tasks.h"
#include "ops/cpu/float_row_driver.h"
#if defined(INTAGLIO_HAS_CUDA)
#include "ops/cuda/elementwise.h"
#endif

namespace intaglio {
namespace {

constexpr int64_t kGrain =
    1
    << 14;  // elements a thread takes at once: long enough to hide the hand-out, short enough to balance

// fn(i) for every i in [0, count) by the threads of the context.
template <typename Fn>
Status for_each(const Context& context, int64_t count, Fn&& fn) {
  INTAGLIO_TRY(parallel_tasks(context, count, kGrain, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) fn(i);
  }));
  return {};
}

}  // namespace

Status convert_elements(const Context& context, const void* source, DType source_dtype,
                        void* target, DType target_dtype, int64_t count) {
#if defined(INTAGLIO_HAS_CUDA)
  if (context.gpu != nullptr)
    return cuda::op::convert_elements(context, source, source_dtype, target, target_dtype, count);
#endif
  INTAGLIO_TRY(parallel_tasks(context, count, kGrain, [&](int64_t begin, int64_t end, int) {
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
  }));
  return {};
}

Status silu_in_place(const Context& context, float* x, int64_t count) {
#if defined(INTAGLIO_HAS_CUDA)
  if (context.gpu != nullptr) return cuda::op::silu_in_place(context, x, count);
#endif
  return for_each(context, count, [&](int64_t i) { x[i] = x[i] / (1.0f + std::exp(-x[i])); });
}

Status tanh_gates(const Context& context, float* modulation, int64_t rows, int64_t width) {
#if defined(INTAGLIO_HAS_CUDA)
  if (context.gpu != nullptr) return cuda::op::tanh_gates(context, modulation, rows, width);
#endif
  return for_each(context, rows * 2 * width, [&](int64_t i) {
    float& value = modulation[i / width * 2 * width + width + i % width];
    value = std::tanh(value);
  });
}

Status add_in_place(const Context& context, float* h, const void* y, DType y_dtype, int64_t count) {
#if defined(INTAGLIO_HAS_CUDA)
  if (context.gpu != nullptr) return cuda::op::add_in_place(context, h, y, y_dtype, count);
#endif
  if (y_dtype == DType::kF32) {
    const auto* from = static_cast<const float*>(y);
    return for_each(context, count, [&](int64_t i) { h[i] += from[i]; });
  }
  const auto* from = static_cast<const BFloat16*>(y);
  return for_each(context, count, [&](int64_t i) { h[i] += static_cast<float>(from[i]); });
}

Status scatter_tap(const Context& context, const float* h, const ScatterTap& s, float* features) {
#if defined(INTAGLIO_HAS_CUDA)
  if (context.gpu != nullptr) return cuda::op::scatter_tap(context, h, s, features);
#endif
  return for_each(context, s.rows * s.cols,
                  [&](int64_t i) { features[i * s.taps + s.tap] = h[i]; });
}

Status softmax_rows(const Context& context, const SoftmaxRows& s, float* scores, void* out) {
#if defined(INTAGLIO_HAS_CUDA)
  if (context.gpu != nullptr) return cuda::op::softmax_rows(context, s, scores, out);
#endif
  const cpu::FloatRowKernels& kernels = cpu::select_float_row_kernels(context);
  const bool bf16 = s.out_dtype == DType::kBF16;
  INTAGLIO_TRY(parallel_tasks(context, s.rows, 4, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      auto* const target = static_cast<std::byte*>(out) +
                           row * s.cols * static_cast<int64_t>(dtype_size(s.out_dtype));
      kernels.softmax(scores + row * s.cols, s.cols, s.scale, target, bf16);
    }
  }));
  return {};
}

Status place_tile(const Context& context, const PlaceTile& s, const float* tile, float* picture) {
#if defined(INTAGLIO_HAS_CUDA)
  if (context.gpu != nullptr) return cuda::op::place_tile(context, s, tile, picture);
#endif
  INTAGLIO_TRY(parallel_tasks(context, s.tile_height, 16, [&](int64_t begin, int64_t end, int) {
    for (int64_t y = begin; y < end; ++y) {
      for (int64_t c = 0; c < 3; ++c) {
        float* const line = picture + (c * s.height + s.first_row + y) * s.width + s.first_column;
        for (int64_t x = 0; x < s.tile_width; ++x)
          line[x] += s.row_share[y] * s.column_share[x] * tile[(y * s.tile_width + x) * 3 + c];
      }
    }
  }));
  return {};
}

}  // namespace intaglio
