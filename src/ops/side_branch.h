// A low-rank branch beside a linear, as adapters bring it:
//
//   y = epilogue(x W^T + bias + (x A^T) B^T),   A [rank, k], B [n, rank]
//
// Exact: x is what the linear's input was made of, unrotated and not quantized, and the sum is
// formed in F32 before any activation. The weights of the linear stay as they are, so a branch
// comes and goes without a reload.
#pragma once

#include "core/aligned_buffer.h"
#include "ops/linear.h"

namespace intaglio {

struct SideBranch {
  int64_t rank = 0;
  DType dtype = DType::kF32;  // F32 or BF16: of A, B and x
  AlignedBuffer down;         // A [rank, k of the linear]
  AlignedBuffer up;           // B [n of the linear, rank], rows where the linear has them
  const FloatGemmImplementation* down_product = nullptr;
  const FloatGemmImplementation* up_product = nullptr;

  size_t size_bytes() const { return down.size() + up.size(); }
};

// What an adapter says of one linear of the several that are laid side by side.
struct SidePart {
  TensorView down;     // F32, F16 or BF16 [rank, k]; data == nullptr: no branch of this part
  TensorView up;       // F32, F16 or BF16 [n_i, rank]
  float scale = 1.0f;  // of the branch
};

// The branch of a prepared linear, `parts` in the order of its own, whose outputs `rows` are. The
// ranks of parts with a branch add up. `dtype`: of the rows of x.
Expected<std::shared_ptr<const SideBranch>> make_side_branch(const Context& context,
                                                             const LinearWeights& weights,
                                                             std::span<const int64_t> rows,
                                                             std::span<const SidePart> parts,
                                                             DType dtype);

// Of `linear`, for weights with a branch.
size_t side_branch_scratch_bytes(const Context& context, const LinearWeights& weights, int64_t m);
Status run_with_side_branch(const Context& context, const LinearWeights& weights,
                            const LinearCall& call);

}  // namespace intaglio
