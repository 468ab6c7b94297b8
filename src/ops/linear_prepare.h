// Checks and layout of the weights of make_linear.
#pragma once

#include <vector>

#include "ops/linear.h"

namespace intaglio {

// Sizes of the parts after checking them against the contract of make_linear.
struct LinearShape {
  int64_t n = 0;       // rows of all parts
  int64_t part_n = 0;  // rows of one part, SwiGLU only
  int64_t k = 0;
};

Expected<LinearShape> check_linear(GemmEpilogue epilogue, const std::vector<TensorView>& parts,
                                   const std::vector<TensorView>& biases);

// The product that will run with weights of this kind, epilogue and size: one choice for the weights
// and for a plan that knows no weights. Not for kF8.
Status choose_products(const Context& context, LinearWeights& weights);

// Rows of a float tensor in host memory as `dtype` (F32 or BF16).
Status convert_weight_rows(const Context& context, const TensorView& part, DType dtype,
                           std::byte* target);

// The int8 kernels read the two parts of gated pairs in turns of 16 rows.
inline bool is_interleaved(const LinearWeights& weights) {
  return weights.kind == LinearKind::kS8 && is_gated(weights.epilogue);
}

// First row, in the weights [n, k] of the int8 kernels, of the 16 rows of part `part` (0 gate, 1
// up) that start at `row`.
constexpr int64_t interleaved_row(int64_t part, int64_t row) {
  return 2 * row + part * kSwigluGroup;
}

}  // namespace intaglio
