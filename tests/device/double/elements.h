// Elements of the types that kernels take, for kernels that are plain loops.
#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "ops/cuda/quantize_rows_params.h"

namespace intaglio::cuda {

inline float load(const void* data, RowType type, int64_t i) {
  switch (type) {
    case RowType::kF32:
      return static_cast<const float*>(data)[i];
    case RowType::kBF16:
      return static_cast<float>(static_cast<const BFloat16*>(data)[i]);
    case RowType::kF16:
      return static_cast<float>(static_cast<const Float16*>(data)[i]);
  }
  return 0.0f;
}

inline void store(void* data, RowType type, int64_t i, float value) {
  if (type == RowType::kF32) {
    static_cast<float*>(data)[i] = value;
  } else {
    static_cast<BFloat16*>(data)[i] = BFloat16(value);
  }
}

}  // namespace intaglio::cuda
