#include "ops/cuda/kernels/quantize_rows.cuh"
#include "ops/cuda/launch/arguments.h"
#include "ops/cuda/launch/quantize_rows.h"
#include "quant/rotation.h"

namespace intaglio::cuda {
namespace {

int64_t bytes_of(DType type) { return type == DType::kF32 ? 4 : 2; }

template <class Transform, int kChunks>
void launch_held(const QuantizeRowsParams& p, const RowShape& shape, cudaStream_t stream) {
  if (shape.rows > 1) {
    if constexpr (kChunks <= 4) {
      const auto blocks = static_cast<unsigned>((p.rows + shape.rows - 1) / shape.rows);
      held_rows<Transform, kChunks, true><<<blocks, shape.threads, 0, stream>>>(p);
    }
  } else if constexpr (kChunks >= 2) {
    held_rows<Transform, kChunks, false><<<p.rows, shape.threads, 0, stream>>>(p);
  }
}

constexpr int kMostChunks = 8;

template <class Transform>
cudaError_t launch(const QuantizeRowsParams& p, const RowShape& shape, cudaStream_t stream) {
  if (!detail::rows_are_vectors(p)) {
    streamed_rows<Transform, false><<<p.rows, shape.threads, 0, stream>>>(p);
  } else if (shape.chunks == 1) {
    launch_held<Transform, 1>(p, shape, stream);
  } else if (shape.chunks == 2) {
    launch_held<Transform, 2>(p, shape, stream);
  } else if (shape.chunks == 4) {
    launch_held<Transform, 4>(p, shape, stream);
  } else if (shape.chunks == 8) {
    launch_held<Transform, 8>(p, shape, stream);
  } else {
    streamed_rows<Transform, true><<<p.rows, shape.threads, 0, stream>>>(p);
  }
  return cudaGetLastError();
}

template <class Transform>
RowShape shape_for(const QuantizeRowsParams& p) {
  return quantize_rows_shape(p.ldq / Transform::kElements,
                             {.most_chunks = kMostChunks,
                              .most_threads = most_threads<Transform, kMostChunks>(),
                              .target_threads = Transform::kBlockThreads});
}

// One of three input types.
template <template <class> class Transform>
cudaError_t launch_typed(const QuantizeRowsParams& p, const RowShape& shape, cudaStream_t stream) {
  switch (p.type) {
    case DType::kF32:
      return launch<Transform<F32>>(p, shape, stream);
    case DType::kBF16:
      return launch<Transform<BF16>>(p, shape, stream);
    case DType::kF16:
      return launch<Transform<F16>>(p, shape, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace

namespace detail {

bool rows_are_vectors(const QuantizeRowsParams& p) {
  return p.cols % 8 == 0 && is_aligned(p.x, 16) && p.ldx * bytes_of(p.type) % 16 == 0 &&
         is_aligned(p.smooth, 16);
}

}  // namespace detail

const char* quantize_rows_refusal(const QuantizeRowsParams& p) {
  if (p.rows < 0 || p.cols < 1) return "rows must be >= 0 and cols >= 1";
  if (p.type != DType::kF32 && p.type != DType::kBF16 && p.type != DType::kF16)
    return "unknown input type";
  if (p.rows > 0 && (p.x == nullptr || p.q == nullptr || p.scale == nullptr))
    return "x, q and scale must be given";
  if (p.ldx < p.cols) return "ldx is below the columns of x";
  if (reinterpret_cast<uintptr_t>(p.x) % bytes_of(p.type) != 0)
    return "x is not aligned to its type";
  if (p.ldq < p.cols || p.ldq % 16 != 0) return "ldq must be a multiple of 16, at least cols";
  if (!is_aligned(p.q, 16)) return "q is not aligned to 16 bytes";
  switch (p.transform) {
    case RowTransform::kNone:
      return nullptr;
    case RowTransform::kSmooth:
      return p.smooth != nullptr ? nullptr : "smooth must be given";
    case RowTransform::kRotate:
      return rotation_refusal(p.cols, p.group);
  }
  return "unknown transform";
}

cudaError_t quantize_rows(const QuantizeRowsParams& p, cudaStream_t stream) {
  if (quantize_rows_refusal(p) != nullptr) return cudaErrorInvalidValue;
  if (p.rows == 0) return cudaSuccess;
  return detail::quantize_rows_shaped(p, detail::shape_of(p), stream);
}

namespace detail {

RowShape shape_of(const QuantizeRowsParams& p) {
  switch (p.transform) {
    case RowTransform::kNone:
      return p.type == DType::kF32 ? shape_for<PlainRows<F32>>(p) : shape_for<PlainRows<BF16>>(p);
    case RowTransform::kSmooth:
      return shape_for<SmoothRows<BF16>>(p);
    case RowTransform::kRotate:
      return rotate_rows_shape(p.ldq / 16, p.group);
  }
  return {};
}

cudaError_t quantize_rows_shaped(const QuantizeRowsParams& p, const RowShape& shape,
                                 cudaStream_t stream) {
  switch (p.transform) {
    case RowTransform::kNone:
      return launch_typed<PlainRows>(p, shape, stream);
    case RowTransform::kSmooth:
      return launch_typed<SmoothRows>(p, shape, stream);
    case RowTransform::kRotate:
      return launch_rotate_quantize_rows(p, shape, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace detail
}  // namespace intaglio::cuda
