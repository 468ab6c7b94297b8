// The one vocabulary of what is done to a matrix product on its way out.
//
//   y[m, n]                          the product, scaled where its operands are quantized, + bias[n]
//   kNone       out[m, n] = y[m, n]
//   kSwiglu     out[m, j] = silu(gate) * up: a gated pair of columns of y gives one of out, n / 2
//
// Where the two columns of a pair stand is the product's affair: int8 products take them in turns
// of kSwigluGroup (ops/s8_gemm.h), float products side by side, all gates first. Kernels include
// this: plain numbers, host and device.
#pragma once

#include <cstdint>

namespace intaglio {

enum class GemmEpilogue : int32_t { kNone, kSwiglu };

// Columns of one kind that int8 products read together: 16 gates, then their 16 ups.
inline constexpr int64_t kSwigluGroup = 16;

// Two columns of the product make one of the output.
constexpr bool is_gated(GemmEpilogue epilogue) { return epilogue == GemmEpilogue::kSwiglu; }

// Columns of the product that make one of the output.
constexpr int64_t columns_per_output(GemmEpilogue epilogue) { return is_gated(epilogue) ? 2 : 1; }

// Columns of the output of a product of n columns.
constexpr int64_t epilogue_columns(GemmEpilogue epilogue, int64_t n) {
  return n / columns_per_output(epilogue);
}

// Products that fuse no epilogue write all their columns elsewhere first: ops/elementwise.h,
// EpilogueRows.
constexpr bool needs_pass(GemmEpilogue epilogue) { return epilogue != GemmEpilogue::kNone; }

// "none", "swiglu": of traces, tables and files.
constexpr const char* epilogue_name(GemmEpilogue epilogue) {
  switch (epilogue) {
    case GemmEpilogue::kNone:
      return "none";
    case GemmEpilogue::kSwiglu:
      return "swiglu";
  }
  return "none";
}

}  // namespace intaglio
