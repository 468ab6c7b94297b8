// Linear layers on the CPU but for the int8 product, which has a list of its own: the entries of
// linear_implementations.
#pragma once

#include <span>

#include "ops/linear.h"

namespace intaglio::cpu {

// kS8. Rows packed as the int8 product wants them.
Status prepare_s8(const Context& context, std::span<const StoredLinear> parts,
                  LinearWeights& weights);

// kS8Dequant: int8 rows [n, k] as they are; rows of w, a few MiB at a time, and those of x become
// bf16 before their product.
Status choose_dequant_s8(const Context& context, const LinearDesc& desc, LinearWeights& weights);
Status prepare_dequant_s8(const Context& context, std::span<const StoredLinear> parts,
                          LinearWeights& weights);
size_t dequant_s8_scratch_bytes(const Context& context, const LinearWeights& weights,
                                const LinearCall& call);
Status run_dequant_s8(const Context& context, const LinearWeights& weights, const LinearCall& call);

// kF32, kBF16.
Status choose_float(const Context& context, const LinearDesc& desc, LinearWeights& weights);
Status prepare_float(const Context& context, std::span<const StoredLinear> parts,
                     LinearWeights& weights);
size_t float_scratch_bytes(const Context& context, const LinearWeights& weights,
                           const LinearCall& call);
Status run_float(const Context& context, const LinearWeights& weights, const LinearCall& call);

}  // namespace intaglio::cpu
