// Linear layers on a GPU: the entries of linear_implementations, preparation of their weights in
// device memory and the calls. Parts are quantized on the device. ops/s8_gemm.h and ops/quantize.h
// enter here too.
#pragma once

#include <span>

#include "ops/linear.h"
#include "ops/quantize.h"

namespace intaglio::cuda::op {

// kS8, kS8Dequant: row-major int8 [n, k] with a scale a row.
Status prepare_s8(const Context& context, std::span<const StoredLinear> parts,
                  LinearWeights& weights);

// Linears whose product is that of bf16, after ops/cuda/launch/dequantize_weights.h: kS8Dequant,
// kNf4.
Status choose_bf16(const Context& context, const LinearDesc& desc, LinearWeights& weights);
size_t dequant_scratch_bytes(const Context& context, const LinearWeights& weights,
                             const LinearCall& call);
Status run_dequant(const Context& context, const LinearWeights& weights, const LinearCall& call);
// packed: codes [n * k / 2]; scales: absmax [n * k / 64]; both as weight_formats.h says, k % 64 ==
// 0.
Status prepare_nf4(const Context& context, std::span<const StoredLinear> parts,
                   LinearWeights& weights);

// kF32, kBF16.
Status choose_float(const Context& context, const LinearDesc& desc, LinearWeights& weights);
Status prepare_float(const Context& context, std::span<const StoredLinear> parts,
                     LinearWeights& weights);
size_t float_scratch_bytes(const Context& context, const LinearWeights& weights,
                           const LinearCall& call);
Status run_float(const Context& context, const LinearWeights& weights, const LinearCall& call);

// kF8. packed: e4m3 [n, k]; scales: a scale a row of it. `prepare` is kUnsupported if cuBLASLt has
// no such product on this device; `run` takes ldo == weights.out_cols().
Status choose_f8(const Context& context, const LinearDesc& desc, LinearWeights& weights);
Status prepare_f8(const Context& context, std::span<const StoredLinear> parts,
                  LinearWeights& weights);
size_t f8_scratch_bytes(const Context& context, const LinearWeights& weights,
                        const LinearCall& call);
Status run_f8(const Context& context, const LinearWeights& weights, const LinearCall& call);

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
