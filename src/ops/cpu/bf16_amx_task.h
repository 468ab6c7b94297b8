// One unit of work of a bf16 product on AMX tiles, for float_gemm and conv2d.
#pragma once

#include <cstdint>

#include "ops/cpu/amx_task.h"

namespace intaglio {

// Where row `row` of the sums goes and what joins it. Rows are points of a grid `pitch` wide of
// which the first `width` of each line are outputs and the rest is dropped: the pixels of a padded
// picture. A plain matrix is one line.
//   out[line * ld_line + place * ld + column] = sum + bias[column] (+ add at the same place)
struct Bf16Epilogue {
  const float* bias;  // [n] or nullptr
  const void* add;    // of the type of out, laid out like it, or nullptr; may be out
  void* out;
  int64_t ld, ld_line;    // elements
  uint32_t pitch, width;  // of a line of the grid
  int64_t n;              // columns of the product
  bool bf16_out;          // else float
};

using Bf16AmxTask = AmxTask<Bf16Epilogue>;
using Bf16AmxKernel = void (*)(const Bf16AmxTask&);

// amx/: needs a processor with AMX-BF16 and permission to use it.
void amx_bf16_task(const Bf16AmxTask& task);

// Rows [0, n) of w (bf16, row stride ldw elements), n <= kAmxPanelCols, into one panel; k is padded
// to whole steps and columns to kAmxPanelCols, with zeros.
struct Bf16AmxPackArgs {
  const uint16_t* w;
  int64_t ldw;
  int64_t n, k;
  uint8_t* panel;  // 64-byte aligned
};
using Bf16AmxPack = void (*)(const Bf16AmxPackArgs&);
void amx_bf16_pack(const Bf16AmxPackArgs& args);

}  // namespace intaglio
