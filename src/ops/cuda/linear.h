// Linear layers on a GPU: preparation of their weights in device memory, and the calls. ops/linear.h, ops/s8_gemm.h and ops/quantize.h enter here.
#pragma once

#include <vector>

#include "ops/linear.h"
#include "ops/quantize.h"

namespace intaglio::cuda::op {

// Fills in packed, scale_col and the chosen product of `weights`, whose sizes, kind, epilogue and bias are set. Parts are quantized on the device.
// The kind is kind_at_size's.
Status prepare_linear(const Context& context, const std::vector<TensorView>& parts,
                      LinearWeights& weights);

// Of the kinds that are not int8 products: those are called through kS8Gemm on every device.
size_t linear_scratch_bytes(const Context& context, const LinearWeights& weights, int64_t m,
                            DType out_dtype);
Status linear(const Context& context, const LinearWeights& weights, const Activation& x, void* out,
              DType out_dtype, int64_t ldo);

extern const S8GemmImplementation kS8Gemm;

Refusal quantize_rows_refusal(const QuantizeRowsDesc& desc, const Context& context);
Status run_quantize_rows(const Context& context, const QuantizeRowsDesc& desc,
                         const QuantizeRowsArgs& args);

struct E4m3Rows {
  uint8_t* q = nullptr;    // [rows, cols] dense
  float* scale = nullptr;  // [rows]
};
// x: F32, BF16 or F16 [rows, cols] dense, cols in multiples of 16.
Status quantize_e4m3_rows(const Context& context, const TensorView& x, const E4m3Rows& out);

}  // namespace intaglio::cuda::op
