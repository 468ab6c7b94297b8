// Row norms of the residual stream, fused with what follows them.
#pragma once

#include <cstdint>
#include <span>

#include "core/context.h"
#include "core/registry.h"
#include "core/status.h"
#include "ops/activation.h"
#include "quant/rotation.h"

namespace intaglio {

// kLayer: mean removed. kNone: values as they are, only for the y of a gated residual.
enum class NormKind { kRms, kLayer, kNone };

struct NormDesc {
  NormKind kind = NormKind::kRms;
  int64_t rows = 0, cols = 0;
  float eps = 0.0f;
  // kF32, kBF16, or kI8 and kF8E4M3: rows quantized as ops/quantize.h says, e4m3 on GPUs only.
  DType out_dtype = DType::kF32;
  // Of kI8: the columns of out are turned before they are quantized (quant/rotation.h). Not
  // everywhere: `norm_turns`.
  Rotation rotation = {};
};

// out = norm(x) * weight * (1 + modulation) + shift;  rms: x / sqrt(mean(x^2) + eps);  layer: (x - mean) / sqrt(var + eps)
struct NormArgs {
  const float* x = nullptr;           // [rows, cols] dense
  const float* weight = nullptr;      // [cols] or nullptr (= 1)
  const float* modulation = nullptr;  // [cols] or nullptr (= 0)
  const float* shift = nullptr;       // [cols] or nullptr (= 0), added before rows are quantized
  Activation out;                     // [rows, cols] of desc.out_dtype
};

// h += gate * n(y) * weight, in place: the gated residual of a block. n is what NormDesc::kind
// says: kRms, or kNone for y itself.
struct GatedResidualArgs {
  float* h = nullptr;       // [rows, cols] F32 dense
  const void* y = nullptr;  // [rows, cols] dense, F32 or BF16 (y_dtype)
  DType y_dtype = DType::kF32;
  const float* weight = nullptr;  // [cols] or nullptr (= 1)
  const float* gate = nullptr;    // [cols] or nullptr (= 1)
};

// Of a norm that writes `out`.
inline NormDesc norm_into(NormKind kind, float eps, const Activation& out) {
  return {kind, out.rows, out.cols, eps, out.dtype, out.rotation};
}

struct NormImplementation {
  const char* name;  // "cuda_norm", "avx512_norm", "avx2_norm", "ref_norm"
  Refusal (*can_run)(const NormDesc&, const Context&);
  Status (*norm)(const Context&, const NormDesc&, const NormArgs&);
  // desc.kind is kRms or kNone; desc.out_dtype is ignored. If `next` is not null, also writes
  // norm(h) of the updated rows there (one pass over h), rms or layer.
  Status (*gated_residual)(const Context&, const NormDesc&, const GatedResidualArgs&,
                           const NormArgs* next, const NormDesc* next_desc);
  DeviceKind device = DeviceKind::kCpu;
};

std::span<const NormImplementation> norm_implementations();

// Whether a norm of rows of so many columns turns them on such a device at the cost of the plain
// norm: on a GPU, in groups of up to 256, rows of up to 6144. Elsewhere rows of floats go through
// quantize_rows; the reference turns all.
bool norm_turns(DeviceKind device, const Rotation& rotation, int64_t cols);

Status norm(const Context& context, const NormDesc& desc, const NormArgs& args);
// next.x is ignored (it is h). Pass next = nullptr for the plain residual.
Status gated_residual(const Context& context, const NormDesc& desc, const GatedResidualArgs& args,
                      const NormDesc* next_desc, const NormArgs* next);

}  // namespace intaglio
