// Checks and layout of the weights of make_linear, alike on every device.
#pragma once

#include <span>
#include <vector>

#include "core/aligned_buffer.h"
#include "ops/linear.h"

namespace intaglio {

// Rows for which products are chosen and libraries are asked.
inline constexpr int64_t kLinearRowHint = 4096;

// Sizes of the parts after checking them against the contract of make_linear.
struct LinearShape {
  int64_t n = 0;       // rows of all parts
  int64_t part_n = 0;  // rows of one part, SwiGLU only
  int64_t k = 0;
};
Expected<LinearShape> check_linear(GemmEpilogue epilogue, const LinearSource& source);

// The products of `weights`, in their fields: of kS8 the int8 product, else the float one.
Status choose_products(const Context& context, const LinearDesc& desc, LinearWeights& weights);

// Bias of all parts and what joins it, at the place of each part's outputs; empty if there is none.
Expected<AlignedBuffer> prepare_bias(const Context& context, const LinearSource& source,
                                     const LinearWeights& weights);

// Rows of a part in host memory as `dtype` (F32 or BF16).
Status convert_weight_rows(const Context& context, const StoredLinear& part, DType dtype,
                           std::byte* target);
// The part as a tensor of floats: itself, or F32 values in `memory`.
Expected<TensorView> as_float_tensor(const Context& context, const StoredLinear& part,
                                     AlignedBuffer& memory);

// Rows [first, first + count) of the part as int8 rows and their scales in host memory: as they are
// stored, or quantized.
Status int8_rows(const Context& context, const LinearWeights& weights, const StoredLinear& rows,
                 int8_t* q, float* scale);

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
