// Rows of a weight as the int8 rows that checkpoints hold: quantize_stored_row (quant/int8_rows.h)
// for many rows. Every implementation gives its bits.
#pragma once

#include <atomic>
#include <cstdint>

#include "core/dtype.h"
#include "ops/op_list.h"
#include "quant/rotation.h"

namespace intaglio {

// On the CPU.
struct StoredRows {
  const void* w = nullptr;    // [rows, cols] dense, may be unaligned
  DType dtype = DType::kF32;  // F32, F16 or BF16
  int64_t rows = 0, cols = 0;
  Rotation rotation = {};  // fits the columns
  int8_t* q = nullptr;     // [rows, cols]
  float* scale = nullptr;  // [rows]
  // Made false where a row's numbers, turned, are not all finite: those of a row with an Inf or a
  // NaN, whose codes mean nothing, or of one whose sums overflow. May be null.
  std::atomic<bool>* finite = nullptr;
};

OpList<StoredRows> quantize_stored_rows_implementations();

Status quantize_stored_rows(const Context& context, const StoredRows& op);

}  // namespace intaglio
