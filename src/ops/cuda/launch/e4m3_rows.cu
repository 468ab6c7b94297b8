#include "ops/cuda/kernels/e4m3_rows.cuh"
#include "ops/cuda/launch/arguments.h"
#include "ops/cuda/launch/e4m3_rows.h"
#include "ops/cuda/launch/quantize_rows_shape.h"

namespace intaglio::cuda {
namespace {

constexpr int64_t kColumnMultiple = 16;  // rows of q begin at multiples of 16 bytes
constexpr int32_t kMostColumns = 1 << 30;

int64_t bytes_of(DType type) { return type == DType::kF32 ? 4 : 2; }

template <class Type, int kChunks>
void launch_held(const E4m3RowsParams& p, const RowShape& shape, cudaStream_t stream) {
  if (shape.rows > 1) {
    if constexpr (kChunks <= 4) {
      const auto blocks = static_cast<unsigned>((p.rows + shape.rows - 1) / shape.rows);
      held_e4m3_rows<Type, kChunks, true><<<blocks, shape.threads, 0, stream>>>(p);
    }
  } else if constexpr (kChunks >= 2) {
    held_e4m3_rows<Type, kChunks, false><<<p.rows, shape.threads, 0, stream>>>(p);
  }
}

template <class Type>
cudaError_t launch(const E4m3RowsParams& p, cudaStream_t stream) {
  const RowShape shape = quantize_rows_shape(p.cols / kE4m3Piece<Type>, {});
  switch (shape.chunks) {
    case 1:
      launch_held<Type, 1>(p, shape, stream);
      break;
    case 2:
      launch_held<Type, 2>(p, shape, stream);
      break;
    case 4:
      launch_held<Type, 4>(p, shape, stream);
      break;
    case 8:
      launch_held<Type, 8>(p, shape, stream);
      break;
    default:
      streamed_e4m3_rows<Type><<<p.rows, shape.threads, 0, stream>>>(p);
  }
  return cudaPeekAtLastError();
}

}  // namespace

const char* e4m3_rows_refusal(const E4m3RowsParams& p) {
  if (p.rows < 0) return "rows must be >= 0";
  if (p.cols < 1 || p.cols > kMostColumns || p.cols % kColumnMultiple != 0)
    return "cols must be a multiple of 16, at most 2^30";
  if (p.type != DType::kF32 && p.type != DType::kBF16 && p.type != DType::kF16)
    return "unknown input type";
  if (p.rows > 0 && (p.x == nullptr || p.q == nullptr || p.scale == nullptr))
    return "x, q and scale must be given";
  if (p.ldx < p.cols) return "ldx is below the columns of x";
  if (!is_aligned(p.x, 16) || p.ldx * bytes_of(p.type) % 16 != 0 || !is_aligned(p.q, 16))
    return "rows of x and q must begin at multiples of 16 bytes";
  return nullptr;
}

cudaError_t e4m3_rows(const E4m3RowsParams& p, cudaStream_t stream) {
  if (e4m3_rows_refusal(p) != nullptr) return cudaErrorInvalidValue;
  if (p.rows == 0) return cudaSuccess;
  switch (p.type) {
    case DType::kF32:
      return launch<F32>(p, stream);
    case DType::kBF16:
      return launch<BF16>(p, stream);
    case DType::kF16:
      return launch<F16>(p, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace intaglio::cuda
