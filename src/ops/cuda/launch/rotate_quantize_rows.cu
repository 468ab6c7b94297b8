// The rotating row quantizers: its own file, because its kernels are many.
#include "ops/cuda/kernels/rotate_quantize_rows.cuh"
#include "ops/cuda/launch/quantize_rows.h"

namespace intaglio::cuda::detail {
namespace {

template <class Type, int kGroup>
cudaError_t launch(const QuantizeRowsParams& p, const RowShape& shape, cudaStream_t stream) {
  const auto bytes = static_cast<size_t>(rotate_scratch_bytes(shape.threads, kGroup));
  if (!rows_are_vectors(p)) {
    streamed_rotated_rows<Type, kGroup, false><<<p.rows, shape.threads, bytes, stream>>>(p);
  } else if (shape.chunks == 1) {
    rotated_rows<Type, kGroup, 1><<<p.rows, shape.threads, bytes, stream>>>(p);
  } else if (shape.chunks == 2) {
    rotated_rows<Type, kGroup, 2><<<p.rows, shape.threads, bytes, stream>>>(p);
  } else if (shape.chunks == 3) {
    rotated_rows<Type, kGroup, 3><<<p.rows, shape.threads, bytes, stream>>>(p);
  } else {
    streamed_rotated_rows<Type, kGroup, true><<<p.rows, shape.threads, bytes, stream>>>(p);
  }
  return cudaGetLastError();
}

template <class Type>
cudaError_t launch_group(const QuantizeRowsParams& p, const RowShape& shape, cudaStream_t stream) {
  switch (p.group) {
    case 16:
      return launch<Type, 16>(p, shape, stream);
    case 64:
      return launch<Type, 64>(p, shape, stream);
    case 256:
      return launch<Type, 256>(p, shape, stream);
    case 1024:
      return launch<Type, 1024>(p, shape, stream);
    case 4096:
      return launch<Type, 4096>(p, shape, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace

cudaError_t launch_rotate_quantize_rows(const QuantizeRowsParams& p, const RowShape& shape,
                                        cudaStream_t stream) {
  switch (p.type) {
    case DType::kF32:
      return launch_group<F32>(p, shape, stream);
    case DType::kBF16:
      return launch_group<BF16>(p, shape, stream);
    case DType::kF16:
      return launch_group<F16>(p, shape, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace intaglio::cuda::detail
