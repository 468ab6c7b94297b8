// A linear layer with prepared weights: y = epilogue(x W^T + bias + B (A x)).
// How it is computed is a property of the weights, so model code is the same for all precisions and
// formats.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/aligned_buffer.h"
#include "core/context.h"
#include "core/registry.h"
#include "core/status.h"
#include "core/tensor.h"
#include "ops/activation.h"
#include "ops/float_gemm.h"
#include "ops/quantize.h"
#include "ops/s8_gemm.h"
#include "quant/stored_linear.h"

namespace intaglio {

enum class LinearKind {
  kF32,
  kBF16,
  // int8 x int8 -> int32, fused epilogue.
  kS8,
  // The baseline: int8 weights (on the CPU activations too) dequantized to bf16 at each call, then
  // a bf16 product.
  kS8Dequant,
  // e4m3 x e4m3 -> float, row and column scales; GPUs of compute capability 8.9 on.
  kF8,
  // NF4 weights (absmax of blocks of 64) dequantized to bf16 at each call, then a bf16 product;
  // GPUs.
  kNf4,
};

std::string_view linear_kind_name(LinearKind kind);

// nullptr if the context's device has products of this kind, else the reason.
Refusal linear_kind_refusal(LinearKind kind, const Context& context);

// What runs in place of `kind` at this size: bf16 where fp8 (n and k in multiples of 16), NF4 (k in
// multiples of 64) or, on a GPU, an int8 kind (k in multiples of 16) has no product.
LinearKind kind_at_size(DeviceKind device, LinearKind kind, int64_t n, int64_t k);

// A linear before its weights: all that a plan knows of it.
struct LinearDesc {
  LinearKind kind = LinearKind::kF32;
  GemmEpilogue epilogue = GemmEpilogue::kNone;
  // Outputs, those of both halves of a SwiGLU, and inputs. Not padded.
  int64_t n = 0, k = 0;
  bool has_bias = false;
  // int8 rows are taken as they are stored (runs_as_stored), and what was done to their columns.
  bool as_stored = false;
  Rotation rotation = {};
  bool smooth = false;
};

struct LinearImplementation;
struct SideBranch;

// Weights of one or several linears that read the same input, laid side by side:
// w = [w_0; w_1; ...] along n.
struct LinearWeights {
  LinearKind kind = LinearKind::kF32;
  int64_t n = 0, k = 0;  // n as the kernels have it, padded
  GemmEpilogue epilogue = GemmEpilogue::kNone;
  DType input = DType::kF32;
  const LinearImplementation* implementation = nullptr;
  // Owned weights, in the layout of the implementation; memory of the context's device like all
  // below.
  AlignedBuffer packed;
  // Or weights used in place, e.g. in a memory-mapped file or in a slot that they stream into.
  const void* borrowed = nullptr;
  // int8 kinds and fp8: F32 [n], a scale a row. NF4: F32 [n * k / 64], the absmax of the blocks.
  AlignedBuffer scales;
  AlignedBuffer bias;  // F32 [n] or empty
  // int8 kinds: the rows are those of the file (runs_as_stored), not quantized here.
  bool as_stored = false;
  // Of kS8: what is done to the columns of its input before they are quantized.
  Rotation rotation = {};
  bool smoothed = false;
  AlignedBuffer smooth;                                 // F32 [k] once prepared, or empty
  const S8GemmImplementation* s8_gemm = nullptr;        // kS8
  const FloatGemmImplementation* float_gemm = nullptr;  // kF32, kBF16, kS8Dequant, kNf4
  std::shared_ptr<const SideBranch> side;               // ops/side_branch.h, or null

  // What the products read.
  const void* data() const { return borrowed != nullptr ? borrowed : packed.data(); }
  // Columns of the output: n, or n / 2 of gated pairs.
  int64_t out_cols() const { return epilogue_columns(epilogue, n); }
  // The type of the activations this linear reads.
  DType input_dtype() const { return input; }
  ColumnTransform columns() const { return {rotation, smooth.as<float>()}; }
  // Whether the columns of its input are turned or divided before they are quantized.
  bool turns_columns() const { return rotation.kind != RotationKind::kNone || smoothed; }
  // What it reads, [rows, k], if it lies at `data` and has its scales at `scale_row` [rows].
  Activation input_at(void* data, int64_t rows, float* scale_row) const {
    return {.dtype = input,
            .data = data,
            .rows = rows,
            .cols = k,
            .scale_row = scale_row,
            .rotation = rotation};
  }
  // Whether a norm before it leaves rows of floats: quantize_rows makes its input of them, with
  // `columns`, or its side branch reads them. Else the norm writes the input itself.
  bool needs_float_rows() const;
  size_t size_bytes() const { return packed.size() + scales.size() + bias.size() + smooth.size(); }
};

// A call of a linear, without its side branch but where its implementation adds one.
struct LinearCall {
  Activation x;  // [m, k] of the type it reads, m >= 1
  void* out = nullptr;
  DType out_dtype = DType::kF32;  // F32 or BF16
  int64_t ldo = 0;                // elements
  // The linear's own, or kNone for the products alone, [m, n], pairs as the kind has them.
  GemmEpilogue epilogue = GemmEpilogue::kNone;
  S8SideRows side = {};
  const float* side_bias = nullptr;  // [n], in place of the linear's own
};

// How linears of a kind are computed on a device: one of an ordered list, best first.
struct LinearImplementation {
  const char* name;  // "cuda_s8_linear", "s8_linear", "float_linear", ...
  Refusal (*can_run)(const LinearDesc&, const Context&);
  // Sets input and products of `weights`, whose sizes, kind and epilogue are set.
  Status (*choose)(const Context&, const LinearDesc&, LinearWeights&);
  // Fills in `packed`, `scales` and `smooth` (or `borrowed`).
  Status (*prepare)(const Context&, std::span<const StoredLinear> parts, LinearWeights&);
  // What `run` takes from context.scratch. No pointer of the call is read.
  size_t (*scratch_bytes)(const Context&, const LinearWeights&, const LinearCall&);
  Status (*run)(const Context&, const LinearWeights&, const LinearCall&);
  DeviceKind device = DeviceKind::kCpu;
  bool adds_side = false;  // `run` takes a call's `side`: BF16 branches
};

std::span<const LinearImplementation> linear_implementations();

// Whether weights stored so enter a linear of `kind` as they are, in their file's grid: int8 rows,
// all parts turned alike. Others go through floats, row by row.
bool runs_as_stored(LinearKind kind, std::span<const StoredForm> parts);

// The linear without its weights: whatever `linear_scratch_bytes` and those who make its input need
// to know. kUnsupported if the device has none of its kind.
Expected<LinearWeights> plan_linear(const Context& context, const LinearDesc& desc);
// Its kind, epilogue, n (padded as the kernels of the kind want it) and k alone, on any device.
void set_sizes(DeviceKind device, const LinearDesc& desc, LinearWeights& weights);

// Weights as a checkpoint holds them, all in host memory, unaligned or mapped memory allowed.
struct LinearSource {
  std::vector<StoredLinear> parts;
  std::vector<TensorView> biases{};        // empty, or [n_i] floats a part (data == nullptr: none)
  std::span<const float> added_bias = {};  // empty or [n], joins them
};
// Parts that are plain float tensors [n_i, k]: F32, F16 or BF16.
std::vector<StoredLinear> float_parts(std::span<const TensorView> parts);

// Prepares weights. kSwiglu takes exactly two parts, gate then up, of equal n. The kind of the
// result is kind_at_size's; kUnsupported if the device has none of it.
// When the kernels need n padded (SwiGLU with n_i % 16 != 0), out_cols() is padded up and the
// padding columns give zeros.
Expected<LinearWeights> make_linear(const Context& context, LinearKind kind, GemmEpilogue epilogue,
                                    const LinearSource& source);

// Bytes of scratch `linear` takes from context.scratch at m rows.
size_t linear_scratch_bytes(const Context& context, const LinearWeights& weights, int64_t m,
                            DType out_dtype);

// x: [m, k] of weights.input_dtype(); out: [m, out_cols()] F32 or BF16, row stride ldo elements.
// `out` may lie where x.floats does.
Status linear(const Context& context, const LinearWeights& weights, const Activation& x, void* out,
              DType out_dtype, int64_t ldo);

}  // namespace intaglio
