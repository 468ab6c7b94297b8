// What a linear reads: rows of floats, or rows quantized once and shared by every linear that reads them.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace intaglio {

// Row-major [rows, cols], dense. dtype is kF32, kBF16 or kI8.
// For kI8 the real value of element (r, c) is data[r, c] * scale_row[r]; the contract of the quantization is in ops/quantize.h.
struct Activation {
  DType dtype = DType::kF32;
  void* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  float* scale_row = nullptr;  // [rows], kI8 only

  template <typename T>
  T* as() const {
    return static_cast<T*>(data);
  }
};

}  // namespace intaglio
