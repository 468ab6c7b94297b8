// Linears of e4m3 rows and e4m3 columns on a GPU: preparation of the weights, and the calls.
#pragma once

#include <vector>

#include "ops/linear.h"

namespace intaglio::cuda::op {

// packed: e4m3 [n, k]; scale_col: a scale a row of it. kUnsupported if cuBLASLt has no such product on this device.
Status prepare_fp8(const Context& context, const std::vector<TensorView>& parts,
                   LinearWeights& weights);

size_t fp8_scratch_bytes(const LinearWeights& weights, int64_t m);
// As ops/linear.h says; ldo == weights.out_cols().
Status run_fp8(const Context& context, const LinearWeights& weights, const Activation& x, void* out,
               DType out_dtype, int64_t ldo);

}  // namespace intaglio::cuda::op
