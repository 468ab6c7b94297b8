// The engine's types as the launchers take them.
#pragma once

#include <cuda_runtime_api.h>

#include "core/context.h"
#include "core/dtype.h"
#include "ops/cuda/quantize_rows_params.h"

namespace intaglio::cuda {

inline cudaStream_t stream_of(const Context& context) {
  return static_cast<cudaStream_t>(context.stream);
}

// F32, F16 or BF16; the caller has refused all others.
inline RowType row_type(DType dtype) {
  if (dtype == DType::kF32) return RowType::kF32;
  return dtype == DType::kF16 ? RowType::kF16 : RowType::kBF16;
}

}  // namespace intaglio::cuda
