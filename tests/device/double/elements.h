// Elements of the types that kernels take, for kernels that are plain loops.
#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "ops/cuda/quantize_rows_params.h"

namespace intaglio::cuda {

inline float load(const void* data, DType type, int64_t i) {
  if (type == DType::kF32) return static_cast<const float*>(data)[i];
  if (type == DType::kF16) return static_cast<float>(static_cast<const Float16*>(data)[i]);
  return static_cast<float>(static_cast<const BFloat16*>(data)[i]);
}

inline void store(void* data, DType type, int64_t i, float value) {
  if (type == DType::kF32) {
    static_cast<float*>(data)[i] = value;
  } else {
    static_cast<BFloat16*>(data)[i] = BFloat16(value);
  }
}

}  // namespace intaglio::cuda
