// Weights that a kernel wrote out as bf16, against the formula on the CPU.
#pragma once

#include "core/status.h"
#include "ops/cuda/dequantize_weights_params.h"

namespace intaglio::cli {

// Runs `p` on the current device into a poisoned output and compares its first and last rows (about
// a million weights each) bit for bit. kInternal names the first weight that differs. p.k % 2 == 0.
Status check_dequantized(const cuda::DequantizeWeightsParams& p);

}  // namespace intaglio::cli
