// A linear layer with prepared weights: y = epilogue(x W^T + bias). Precision is a property of the weights, so model code is the same for all.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/aligned_buffer.h"
#include "core/context.h"
#include "core/status.h"
#include "core/tensor.h"
#include "ops/activation.h"
#include "ops/float_gemm.h"
#include "ops/s8_gemm.h"

namespace intaglio {

enum class LinearKind {
  kF32,
  kBF16,
  kS8,         // int8 x int8 -> int32, fused epilogue
  kS8Dequant,  // the baseline: int8 weights (on the CPU activations too) dequantized to bf16 at each call, then a bf16 product
  kF8,         // e4m3 x e4m3 -> float, row and column scales; GPUs of compute capability 8.9 on
  kNf4,  // NF4 weights (absmax of blocks of 64) dequantized to bf16 at each call, then a bf16 product; GPUs
};

std::string_view linear_kind_name(LinearKind kind);

// nullptr if the context's device has products of this kind, else the reason.
Refusal linear_kind_refusal(LinearKind kind, const Context& context);

// What runs in place of `kind` at this size: bf16 where fp8 (n and k in multiples of 16), NF4 (k in multiples of 64) or, on a GPU, an int8 kind (k in
// multiples of 16) has no product.
LinearKind kind_at_size(DeviceKind device, LinearKind kind, int64_t n, int64_t k);

// Weights of one or several linears that read the same input, laid side by side: w = [w_0; w_1; ...] along n.
struct LinearWeights {
  LinearKind kind = LinearKind::kF32;
  int64_t n = 0, k = 0;
  GemmEpilogue epilogue = GemmEpilogue::kNone;
  DType input = DType::kF32;
  AlignedBuffer
      packed;  // owned weights, in the layout of the chosen implementation; memory of the context's device like the two below
  const void* borrowed =
      nullptr;  // or weights used in place, e.g. in a memory-mapped file or in a slot that they stream into
  AlignedBuffer scale_col;  // F32 [n], int8 kinds and fp8; NF4: absmax [n * k / 64]
  AlignedBuffer bias;       // F32 [n] or empty
  const S8GemmImplementation* s8_gemm =
      nullptr;  // kS8; kS8Dequant keeps its int8 rows [n, k] as they are
  const FloatGemmImplementation* float_gemm = nullptr;  // kF32, kBF16, kS8Dequant, kNf4

  // What the products read.
  const void* data() const { return borrowed != nullptr ? borrowed : packed.data(); }
  // Columns of the output: n, or n / 2 of gated pairs.
  int64_t out_cols() const { return epilogue_columns(epilogue, n); }
  // The type of the activations this linear reads.
  DType input_dtype() const { return input; }
  size_t size_bytes() const { return packed.size() + scale_col.size() + bias.size(); }
};

// Prepares weights. `parts` are [n_i, k] float tensors (F32, F16, BF16), unaligned or mapped memory allowed; `biases` is empty or one [n_i] tensor a part
// (data == nullptr for a part without); `added_bias` is empty or [n] and joins them. All of these are host memory. kSwiglu takes exactly two parts, gate then up, of equal n.
// The kind of the result is kind_at_size's; kUnsupported if the device has none of it.
// When the kernels need n padded (SwiGLU with n_i % 16 != 0), out_cols() is padded up and the padding columns give zeros.
Expected<LinearWeights> make_linear(const Context& context, LinearKind kind, GemmEpilogue epilogue,
                                    const std::vector<TensorView>& parts,
                                    const std::vector<TensorView>& biases,
                                    std::span<const float> added_bias = {});

// The sizes and the products of a linear of n outputs and k inputs without its weights: what linear_scratch_bytes needs to know for a plan.
struct LinearSizes {
  LinearKind kind = LinearKind::kF32;
  GemmEpilogue epilogue = GemmEpilogue::kNone;
  int64_t n = 0, k = 0;
};
Expected<LinearWeights> describe_linear(const Context& context, const LinearSizes& sizes);
// Its kind, epilogue, n (padded as the kernels of the kind want it) and k alone.
void set_sizes(DeviceKind device, const LinearSizes& sizes, LinearWeights& weights);

// Bytes of scratch `linear` takes from context.scratch at m rows.
size_t linear_scratch_bytes(const Context& context, const LinearWeights& weights, int64_t m,
                            DType out_dtype);

// x: [m, k] of weights.input_dtype(); out: [m, out_cols()] F32 or BF16, row stride ldo elements.
Status linear(const Context& context, const LinearWeights& weights, const Activation& x, void* out,
              DType out_dtype, int64_t ldo);

}  // namespace intaglio
