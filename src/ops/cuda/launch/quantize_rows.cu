#include "ops/cuda/kernels/quantize_rows.cuh"
#include "ops/cuda/launch/quantize_rows.h"
#include "quant/rotation.h"

namespace intaglio::cuda {
namespace {

bool is_aligned(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; }

int64_t bytes_of(DType type) { return type == DType::kF32 ? 4 : 2; }

bool is_swiglu(RowTransform transform) {
  return transform == RowTransform::kSwigluHalves || transform == RowTransform::kSwigluInterleaved;
}

template <class Transform, int kChunks, bool kKnown>
void launch_held(const QuantizeRowsParams& p, const RowShape& shape, cudaStream_t stream) {
  if (shape.rows > 1) {
    if constexpr (kChunks <= 4) {
      const auto blocks = static_cast<unsigned>((p.rows + shape.rows - 1) / shape.rows);
      held_rows<Transform, kChunks, true, kKnown><<<blocks, shape.threads, 0, stream>>>(p);
    }
  } else if constexpr (kChunks >= 2) {
    held_rows<Transform, kChunks, false, kKnown><<<p.rows, shape.threads, 0, stream>>>(p);
  }
}

template <class Transform>
constexpr int most_chunks() {
  // Floats of 8 columns a piece: 8 pieces would be 64 registers, a block of 1024 threads has no more.
  return !Transform::kHoldPacked && Transform::kElements == 8 ? 4 : 8;
}

template <class Transform, bool kKnown>
cudaError_t launch(const QuantizeRowsParams& p, const RowShape& shape, cudaStream_t stream) {
  if (!detail::rows_are_vectors(p)) {
    streamed_rows<Transform, false, kKnown><<<p.rows, shape.threads, 0, stream>>>(p);
  } else if (shape.chunks == 1) {
    launch_held<Transform, 1, kKnown>(p, shape, stream);
  } else if (shape.chunks == 2) {
    launch_held<Transform, 2, kKnown>(p, shape, stream);
  } else if (shape.chunks == 4) {
    launch_held<Transform, 4, kKnown>(p, shape, stream);
  } else if (shape.chunks == 8) {
    if constexpr (most_chunks<Transform>() == 8)
      launch_held<Transform, 8, kKnown>(p, shape, stream);
  } else {
    streamed_rows<Transform, true, kKnown><<<p.rows, shape.threads, 0, stream>>>(p);
  }
  return cudaGetLastError();
}

template <class Transform>
RowShape shape_for(const QuantizeRowsParams& p) {
  constexpr int kMostChunks = most_chunks<Transform>();
  return quantize_rows_shape(p.ldq / Transform::kElements,
                             {.most_chunks = kMostChunks,
                              .most_threads = most_threads<Transform, kMostChunks>(),
                              .target_threads = Transform::kBlockThreads});
}

// One of three input types.
template <template <class> class Transform, bool kKnown>
cudaError_t launch_typed(const QuantizeRowsParams& p, const RowShape& shape, cudaStream_t stream) {
  switch (p.type) {
    case DType::kF32:
      return launch<Transform<F32>, kKnown>(p, shape, stream);
    case DType::kBF16:
      return launch<Transform<BF16>, kKnown>(p, shape, stream);
    case DType::kF16:
      return launch<Transform<F16>, kKnown>(p, shape, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace

namespace detail {

bool rows_are_vectors(const QuantizeRowsParams& p) {
  return p.cols % 8 == 0 && is_aligned(p.x) && p.ldx * bytes_of(p.type) % 16 == 0 &&
         is_aligned(p.weight) && is_aligned(p.modulation) && is_aligned(p.smooth);
}

}  // namespace detail

const char* quantize_rows_refusal(const QuantizeRowsParams& p) {
  if (p.rows < 0 || p.cols < 1) return "rows must be >= 0 and cols >= 1";
  if (p.type != DType::kF32 && p.type != DType::kBF16 && p.type != DType::kF16)
    return "unknown input type";
  if (p.rows > 0 && (p.x == nullptr || p.q == nullptr || p.scale == nullptr))
    return "x, q and scale must be given";
  const int64_t x_cols = is_swiglu(p.transform) ? int64_t{2} * p.cols : p.cols;
  if (p.ldx < x_cols) return "ldx is below the columns of x";
  if (reinterpret_cast<uintptr_t>(p.x) % bytes_of(p.type) != 0)
    return "x is not aligned to its type";
  if (p.ldq < p.cols || p.ldq % 16 != 0) return "ldq must be a multiple of 16, at least cols";
  if (!is_aligned(p.q)) return "q is not aligned to 16 bytes";
  if (p.absmax_row != nullptr && p.transform != RowTransform::kNone)
    return "a known absmax goes with the plain quantizer only";
  switch (p.transform) {
    case RowTransform::kNone:
      return nullptr;
    case RowTransform::kRmsNorm:
      return p.eps >= 0.0f ? nullptr : "eps must be >= 0";
    case RowTransform::kSwigluHalves:
    case RowTransform::kSwigluInterleaved:
      if (p.type != DType::kBF16) return "SwiGLU takes bf16";
      if (p.transform == RowTransform::kSwigluInterleaved && p.cols % 16 != 0)
        return "interleaved SwiGLU needs a multiple of 16 columns";
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
    case RowTransform::kRmsNorm:
      return shape_for<RmsNormRows<BF16>>(p);
    case RowTransform::kSwigluHalves:
    case RowTransform::kSwigluInterleaved:
      return shape_for<SwigluRows<false>>(p);
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
      return p.absmax_row != nullptr ? launch_typed<PlainRows, true>(p, shape, stream)
                                     : launch_typed<PlainRows, false>(p, shape, stream);
    case RowTransform::kRmsNorm:
      return launch_typed<RmsNormRows, false>(p, shape, stream);
    case RowTransform::kSwigluHalves:
      return launch<SwigluRows<false>, false>(p, shape, stream);
    case RowTransform::kSwigluInterleaved:
      return launch<SwigluRows<true>, false>(p, shape, stream);
    case RowTransform::kSmooth:
      return launch_typed<SmoothRows, false>(p, shape, stream);
    case RowTransform::kRotate:
      return launch_rotate_quantize_rows(p, shape, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace detail
}  // namespace intaglio::cuda
