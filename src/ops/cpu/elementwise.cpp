#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/parallel_tasks.h"
#include "ops/cpu/float_row_kernels.h"
#include "ops/elementwise_implementations.h"

namespace intaglio::cpu {
namespace {

// Elements a thread takes at once: long enough to hide the hand-out, short enough to balance.
constexpr int64_t kGrain = 1 << 14;

// fn(i) for every i in [0, count) by the threads of the context.
template <typename Fn>
Status for_each(const Context& context, int64_t count, Fn&& fn) {
  return parallel_tasks(context, count, kGrain, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) fn(i);
  });
}

// fn(row, first, end) for pieces of rows that together are [rows, cols].
template <typename Fn>
Status each_piece(const Context& context, int64_t rows, int64_t cols, Fn&& fn) {
  return parallel_tasks(context, rows * cols, kGrain, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end;) {
      const int64_t row = i / cols, first = i % cols;
      const int64_t count = std::min(cols - first, end - i);
      fn(row, first, first + count);
      i += count;
    }
  });
}

template <typename Fn>
Status activate_each(const Context& context, const ActivateInPlace& op, Fn&& fn) {
  return each_piece(context, op.rows, op.cols, [&](int64_t row, int64_t first, int64_t end) {
    float* const x = op.x + row * op.ld;
    for (int64_t c = first; c < end; ++c) x[c] = fn(x[c]);
  });
}

// As the C library has exp and tanh.
struct LibraryMath {
  using Value = float;
  static float set(double x) { return static_cast<float>(x); }
  static float add(float a, float b) { return a + b; }
  static float multiply(float a, float b) { return a * b; }
  static float tanh(float x) { return std::tanh(x); }
  static float quotient(float x, float u) { return x / (1.0f + std::exp(-u)); }
};

}  // namespace

Status convert_elements(const Context& context, const ConvertElements& op) {
  if (op.source_dtype == op.target_dtype) {
    const size_t size = dtype_size(op.source_dtype);
    return parallel_tasks(context, op.count, kGrain, [&](int64_t begin, int64_t end, int) {
      const size_t first = static_cast<size_t>(begin) * size;
      std::memcpy(static_cast<std::byte*>(op.target) + first,
                  static_cast<const std::byte*>(op.source) + first,
                  static_cast<size_t>(end - begin) * size);
    });
  }
  if (op.target_dtype == DType::kBF16) {
    const auto* from = static_cast<const float*>(op.source);
    auto* to = static_cast<BFloat16*>(op.target);
    return for_each(context, op.count, [=](int64_t i) { to[i] = BFloat16(from[i]); });
  }
  const auto* from = static_cast<const BFloat16*>(op.source);
  auto* to = static_cast<float*>(op.target);
  return for_each(context, op.count, [=](int64_t i) { to[i] = static_cast<float>(from[i]); });
}

Status activate_in_place(const Context& context, const ActivateInPlace& op) {
  return visit_nonlinearity(op.function, [&](auto function) {
    return activate_each(context, op, [=](float x) { return activate<LibraryMath>(function, x); });
  });
}

Status add_in_place(const Context& context, const AddInPlace& op) {
  float* const h = op.h;
  if (op.y_dtype == DType::kF32) {
    const auto* y = static_cast<const float*>(op.y);
    return for_each(context, op.count, [=](int64_t i) { h[i] += y[i]; });
  }
  const auto* y = static_cast<const BFloat16*>(op.y);
  return for_each(context, op.count, [=](int64_t i) { h[i] += static_cast<float>(y[i]); });
}

Status scatter_tap(const Context& context, const ScatterTap& op) {
  return each_piece(context, op.rows, op.cols, [&](int64_t row, int64_t first, int64_t end) {
    const float* const from = op.h + row * op.cols;
    float* const to = op.features + row * op.ld + op.offset;
    for (int64_t c = first; c < end; ++c) to[c * op.channel_stride] = from[c];
  });
}

Status softmax_rows_by(const FloatRowKernels& kernels, const Context& context,
                       const SoftmaxRows& op) {
  const auto size = static_cast<int64_t>(dtype_size(op.out_dtype));
  return parallel_tasks(context, op.rows, 4, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      kernels.softmax(op.scores + row * op.cols, op.cols, op.scale,
                      static_cast<std::byte*>(op.out) + row * op.cols * size,
                      op.out_dtype == DType::kBF16);
    }
  });
}

Status gate_rows_by(const FloatRowKernels& kernels, const Context& context, const GateRows& op) {
  const auto size = static_cast<int64_t>(dtype_size(op.dtype));
  return parallel_tasks(context, op.rows, 4, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      kernels.gate({.x = static_cast<std::byte*>(op.x) + row * op.cols * size,
                    .gate = static_cast<const std::byte*>(op.gate) + row * op.ld * size,
                    .bf16 = op.dtype == DType::kBF16,
                    .cols = op.cols});
    }
  });
}

Status epilogue_rows_by(const FloatRowKernels& kernels, const Context& context,
                        const EpilogueRows& op) {
  const int64_t stride = op.product_stride() * static_cast<int64_t>(dtype_size(op.product_dtype));
  const auto size = static_cast<int64_t>(dtype_size(op.out_dtype));
  return parallel_tasks(context, op.rows, 4, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      kernels.epilogue({.epilogue = op.epilogue,
                        .product = static_cast<const std::byte*>(op.product) + row * stride,
                        .bf16_product = op.product_dtype == DType::kBF16,
                        .outputs = op.cols,
                        .out = static_cast<std::byte*>(op.out) + row * op.ldo * size,
                        .bf16_out = op.out_dtype == DType::kBF16});
    }
  });
}

Status place_tile(const Context& context, const PlaceTile& op) {
  return parallel_tasks(context, op.tile_height, 16, [&](int64_t begin, int64_t end, int) {
    for (int64_t y = begin; y < end; ++y) {
      for (int64_t c = 0; c < 3; ++c) {
        float* const line =
            op.picture + (c * op.height + op.first_row + y) * op.width + op.first_column;
        for (int64_t x = 0; x < op.tile_width; ++x)
          line[x] +=
              op.row_share[y] * op.column_share[x] * op.tile[(y * op.tile_width + x) * 3 + c];
      }
    }
  });
}

}  // namespace intaglio::cpu
