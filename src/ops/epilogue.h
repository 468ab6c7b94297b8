// The one vocabulary of what is done to a matrix product on its way out.
//
//   y[m, n]                          the product, scaled where its operands are quantized, + bias[n]
//   kNone       out[m, n] = y[m, n]
//   kSwiglu     out[m, j] = silu(gate) * up: a gated pair of columns of y gives one of out, n / 2
//   kGeluTanh   out[m, n] = GELU of y by its tanh form (ops/nonlinearity.h)
//
// Where the two columns of a pair stand is the product's affair: int8 products take them in turns
// of kSwigluGroup (ops/s8_gemm.h), float products side by side, all gates first. Kernels include
// this: plain numbers, host and device.
#pragma once

#include <cstdint>

#include "ops/nonlinearity.h"

namespace intaglio {

enum class GemmEpilogue : int32_t { kNone, kSwiglu, kGeluTanh };

inline constexpr GemmEpilogue kGemmEpilogues[] = {GemmEpilogue::kNone, GemmEpilogue::kSwiglu,
                                                  GemmEpilogue::kGeluTanh};

// Columns of one kind that int8 products read together: 16 gates, then their 16 ups.
inline constexpr int64_t kSwigluGroup = 16;

// Two columns of the product make one of the output.
INTAGLIO_HOST_DEVICE constexpr bool is_gated(GemmEpilogue epilogue) {
  return epilogue == GemmEpilogue::kSwiglu;
}

// Columns of the product that make one of the output.
INTAGLIO_HOST_DEVICE constexpr int64_t columns_per_output(GemmEpilogue epilogue) {
  return is_gated(epilogue) ? 2 : 1;
}

// Columns of the output of a product of n columns.
INTAGLIO_HOST_DEVICE constexpr int64_t epilogue_columns(GemmEpilogue epilogue, int64_t n) {
  return n / columns_per_output(epilogue);
}

// Products that fuse no epilogue write all their columns elsewhere first: ops/elementwise.h,
// EpilogueRows.
INTAGLIO_HOST_DEVICE constexpr bool needs_pass(GemmEpilogue epilogue) {
  return epilogue != GemmEpilogue::kNone;
}

// "none", "swiglu", "gelu_tanh": of traces, tables and files.
constexpr const char* epilogue_name(GemmEpilogue epilogue) {
  switch (epilogue) {
    case GemmEpilogue::kNone:
      return "none";
    case GemmEpilogue::kSwiglu:
      return "swiglu";
    case GemmEpilogue::kGeluTanh:
      return "gelu_tanh";
  }
  return "none";
}

// An epilogue as a type: out = Function(y), or gated, out = Function(gate) * up.
template <class Function_, bool kGated_>
struct EpilogueType {
  using Function = Function_;
  static constexpr bool kGated = kGated_;
};

// visit(EpilogueType), the one place where a value of the enum becomes a type: of those that are
// not gated, of those that are, of all.
INTAGLIO_CALLS_BACK
template <class Visit>
INTAGLIO_HOST_DEVICE constexpr void visit_plain(GemmEpilogue epilogue, Visit&& visit) {
  if (epilogue == GemmEpilogue::kGeluTanh) {
    visit(EpilogueType<GeluTanh, false>{});
  } else {
    visit(EpilogueType<Identity, false>{});
  }
}

INTAGLIO_CALLS_BACK
template <class Visit>
INTAGLIO_HOST_DEVICE constexpr void visit_gated(GemmEpilogue, Visit&& visit) {
  visit(EpilogueType<Silu, true>{});
}

INTAGLIO_CALLS_BACK
template <class Visit>
INTAGLIO_HOST_DEVICE constexpr void visit_epilogue(GemmEpilogue epilogue, Visit&& visit) {
  if (is_gated(epilogue)) {
    visit_gated(epilogue, visit);
  } else {
    visit_plain(epilogue, visit);
  }
}

}  // namespace intaglio
