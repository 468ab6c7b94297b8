// A low-rank branch beside a linear, as adapters bring it:
//
//   y = epilogue(x W^T + bias + (x A^T) B^T + b),   A [rank, k], B [n, rank], b [n] or none
//
// Exact: x is what the linear's input was made of, unrotated and not quantized, and the sum is
// formed in F32 before any activation. The weights of the linear stay as they are, so a branch
// comes and goes without a reload. Where the linear's product can
// (LinearImplementation::adds_side), it adds the branch on its way out; else the two are formed
// apart and summed.
#pragma once

#include "core/aligned_buffer.h"
#include "ops/linear.h"

namespace intaglio {

struct SideBranch {
  int64_t rank = 0;
  DType dtype = DType::kF32;  // F32 or BF16: of A, B and x
  AlignedBuffer down;         // A [rank, k of the linear]
  // B [n of the linear, rank], rows where the linear has them; divided by their scales where the
  // product adds the branch.
  AlignedBuffer up;
  bool has_bias = false;
  // F32 [n of the linear], likewise: b, or the linear's own and b where the product adds the
  // branch.
  AlignedBuffer bias;
  const FloatGemmImplementation* down_product = nullptr;
  const FloatGemmImplementation* up_product = nullptr;

  size_t size_bytes() const { return down.size() + up.size() + bias.size(); }
};

// What an adapter says of some outputs of the linears that are laid side by side: all of one, or
// of several at once.
struct SidePart {
  TensorView down;     // F32, F16 or BF16 [rank, at most k]
  TensorView up;       // F32, F16 or BF16 [count, rank]
  float scale = 1.0f;  // of the branch, bias and all, in F32 before B is rounded
  int64_t first = 0;   // of the outputs, counted through all linears
  TensorView bias{};   // F32, F16 or BF16 [count], or null
};

// The branch of a prepared linear whose parts have `rows` outputs each: the sum of `parts`, any
// number of them, whose ranks add up; null without any. `dtype`: of the rows of x.
Expected<std::shared_ptr<const SideBranch>> make_side_branch(const Context& context,
                                                             const LinearWeights& weights,
                                                             std::span<const int64_t> rows,
                                                             std::span<const SidePart> parts,
                                                             DType dtype);
// One without numbers, for plans: of parts whose ranks have the sum `ranks` > 0, any with a bias.
Expected<std::shared_ptr<SideBranch>> plan_side_branch(const Context& context,
                                                       const LinearWeights& weights, int64_t ranks,
                                                       bool has_bias, DType dtype);
// Its rank: products on a GPU want whole pieces of 16 bytes.
constexpr int64_t side_branch_rank(int64_t ranks) {
  return static_cast<int64_t>(align_up(static_cast<size_t>(ranks), 16));
}

// Of `linear`, for weights with a branch.
size_t side_branch_scratch_bytes(const Context& context, const LinearWeights& weights, int64_t m,
                                 DType out_dtype);
Status run_with_side_branch(const Context& context, const LinearWeights& weights,
                            const LinearCall& call);

}  // namespace intaglio
