// What a linear reads: rows of floats, or rows quantized once and shared by every linear that reads
// them.
#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "quant/rotation.h"

namespace intaglio {

constexpr bool has_row_scales(DType dtype) {
  return dtype == DType::kI8 || dtype == DType::kF8E4M3;
}

// Row-major [rows, cols], dense. dtype is kF32, kBF16, kI8 or, on GPUs only, kF8E4M3.
// For the last two the real value of element (r, c) is data[r, c] * scale_row[r]; the contract of
// the quantization is in ops/quantize.h.
struct Activation {
  DType dtype = DType::kF32;
  void* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  float* scale_row = nullptr;  // [rows], kI8 and kF8E4M3 only
  // Of quantized rows that a linear with a side branch reads: what they were made of, [rows, cols]
  // dense.
  const void* floats = nullptr;
  DType floats_dtype = DType::kF32;  // kF32 or kBF16
  // Of kI8: how the columns were turned before they were quantized. `linear` takes rows that are
  // turned as its weights are.
  Rotation rotation = {};

  template <typename T>
  T* as() const {
    return static_cast<T*>(data);
  }
};

}  // namespace intaglio
