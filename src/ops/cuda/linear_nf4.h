// Weights of NF4 linears on a GPU. Their products are those of bf16, after ops/cuda/launch/dequantize_weights.h.
#pragma once

#include <vector>

#include "ops/linear.h"

namespace intaglio::cuda::op {

// packed: codes [n * k / 2]; scale_col: absmax [n * k / 64]; both as weight_formats.h says, k % 64 == 0.
Status prepare_nf4(const Context& context, const std::vector<TensorView>& parts,
                   LinearWeights& weights);

}  // namespace intaglio::cuda::op
