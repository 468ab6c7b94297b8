#include "ops/norm.h"

#include <array>

#include "core/parallel_tasks.h"
#include "ops/cuda/norm_rows_params.h"
#include "ops/norm_implementations.h"
#if defined(INTAGLIO_X86)
#include "ops/cpu/norm_kernels.h"
#endif
#if defined(INTAGLIO_HAS_CUDA)
#include "ops/cuda/norm.h"
#endif

namespace intaglio {
namespace {

Refusal ref_can_run(const NormDesc& desc, const Context&) {
  return desc.out_dtype == DType::kF8E4M3 ? "e4m3 rows are made on a GPU" : nullptr;
}

#if defined(INTAGLIO_X86)

// Of the CPU's kernels: rows of floats are turned by quantize_rows, whose kernels hold a row in L1.
Refusal refuse_turn(const NormDesc& desc) {
  return desc.rotation.kind == RotationKind::kNone ? nullptr : "does not turn rows";
}

NormRowArgs row_args(const NormDesc& desc, const NormArgs& args, const float* x, int64_t row) {
  NormRowArgs r;
  r.x = x;
  r.weight = args.weight;
  r.modulation = args.modulation;
  r.shift = args.shift;
  r.cols = desc.cols;
  r.eps = desc.eps;
  r.layer = desc.kind == NormKind::kLayer;
  r.output = desc.out_dtype;
  r.out =
      args.out.as<std::byte>() + static_cast<size_t>(row * desc.cols) * dtype_size(desc.out_dtype);
  r.scale = args.out.scale_row == nullptr ? nullptr : args.out.scale_row + row;
  return r;
}

template <void (*kNormRow)(const NormRowArgs&)>
Status norm_by_rows(const Context& context, const NormDesc& desc, const NormArgs& args) {
  INTAGLIO_TRY(parallel_tasks(context, desc.rows, norm_grain(desc.cols),
                              [&](int64_t begin, int64_t end, int) {
                                for (int64_t row = begin; row < end; ++row)
                                  kNormRow(row_args(desc, args, args.x + row * desc.cols, row));
                              }));
  return {};
}

// The next norm of a row follows while the row is in L1.
template <void (*kResidualRow)(const ResidualRowArgs&), void (*kNormRow)(const NormRowArgs&)>
Status gated_residual_by_rows(const Context& context, const NormDesc& desc,
                              const GatedResidualArgs& args, const NormArgs* next,
                              const NormDesc* next_desc) {
  INTAGLIO_TRY(parallel_tasks(
      context, desc.rows, norm_grain(desc.cols), [&](int64_t begin, int64_t end, int) {
        for (int64_t row = begin; row < end; ++row) {
          ResidualRowArgs r;
          r.h = args.h + row * desc.cols;
          r.y = static_cast<const std::byte*>(args.y) +
                static_cast<size_t>(row * desc.cols) * dtype_size(args.y_dtype);
          r.y_bf16 = args.y_dtype == DType::kBF16;
          r.weight = args.weight;
          r.gate = args.gate;
          r.normed = desc.kind == NormKind::kRms;
          r.cols = desc.cols;
          r.eps = desc.eps;
          kResidualRow(r);
          if (next != nullptr) kNormRow(row_args(*next_desc, *next, r.h, row));
        }
      }));
  return {};
}

Refusal avx512_can_run(const NormDesc& desc, const Context& context) {
  if (context.cpu.isa < CpuIsa::kAvx512Vnni) return "no AVX-512";
  if (const Refusal refusal = refuse_turn(desc)) return refusal;
  return ref_can_run(desc, context);
}

Refusal avx2_can_run(const NormDesc& desc, const Context& context) {
  if (context.cpu.isa < CpuIsa::kAvx2) return "no AVX2";
  if (const Refusal refusal = refuse_turn(desc)) return refusal;
  return ref_can_run(desc, context);
}

#endif

constexpr std::array kImplementations {
#if defined(INTAGLIO_HAS_CUDA)
  NormImplementation{"cuda_norm", cuda::op::norm_refusal, cuda::op::norm, cuda::op::gated_residual,
                     DeviceKind::kGpu},
#endif
#if defined(INTAGLIO_X86)
      NormImplementation{"avx512_norm", avx512_can_run, norm_by_rows<avx512_norm_row>,
                         gated_residual_by_rows<avx512_gated_residual_row, avx512_norm_row>},
      NormImplementation{"avx2_norm", avx2_can_run, norm_by_rows<avx2_norm_row>,
                         gated_residual_by_rows<avx2_gated_residual_row, avx2_norm_row>},
#endif
      NormImplementation{"ref_norm", ref_can_run, ref_norm, ref_gated_residual},
};

const char* kind_name(NormKind kind) {
  switch (kind) {
    case NormKind::kRms:
      return "rms";
    case NormKind::kLayer:
      return "layer";
    case NormKind::kNone:
      return "none";
  }
  return "unknown";
}

std::string describe(const NormDesc& desc) {
  std::string text = fmt::format("{} [{}, {}] -> {}", kind_name(desc.kind), desc.rows, desc.cols,
                                 dtype_name(desc.out_dtype));
  if (desc.rotation.kind == RotationKind::kConvRot)
    text += fmt::format(" turned in {}", desc.rotation.group);
  return text;
}

Status check_desc(const NormDesc& desc) {
  if (desc.rows < 0 || desc.cols < 1) {
    return make_error(ErrorCode::kInvalidArgument,
                      "norm: shape [{}, {}]; expected rows >= 0 and cols >= 1", desc.rows,
                      desc.cols);
  }
  if (desc.out_dtype != DType::kF32 && desc.out_dtype != DType::kBF16 &&
      !has_row_scales(desc.out_dtype)) {
    return make_error(ErrorCode::kUnsupported,
                      "norm: output type {}; expected F32, BF16, I8 or F8_E4M3",
                      dtype_name(desc.out_dtype));
  }
  if (desc.rotation.kind == RotationKind::kNone) return {};
  if (desc.out_dtype != DType::kI8) {
    return make_error(ErrorCode::kUnsupported, "norm: rows of {} are turned; expected I8",
                      dtype_name(desc.out_dtype));
  }
  if (const char* reason = rotation_refusal(desc.cols, desc.rotation)) {
    return make_error(ErrorCode::kInvalidArgument, "norm: {} columns in groups of {}: {}",
                      desc.cols, desc.rotation.group, reason);
  }
  return {};
}

// Of a norm that is written out.
Status check_out(const NormDesc& desc, const Activation& out) {
  if (desc.kind != NormKind::kRms && desc.kind != NormKind::kLayer) {
    return make_error(ErrorCode::kInvalidArgument,
                      "norm: kind {}; expected rms or layer: without a norm there is nothing to "
                      "write",
                      kind_name(desc.kind));
  }
  if (out.dtype != desc.out_dtype || out.rows != desc.rows || out.cols != desc.cols) {
    return make_error(ErrorCode::kShapeMismatch,
                      "norm: output is {} [{}, {}]; expected {} [{}, {}]", dtype_name(out.dtype),
                      out.rows, out.cols, dtype_name(desc.out_dtype), desc.rows, desc.cols);
  }
  if (!(out.rotation == desc.rotation)) {
    return make_error(ErrorCode::kInvalidArgument,
                      "norm: the output's columns are turned in groups of {}; expected {}",
                      out.rotation.group, desc.rotation.group);
  }
  if (desc.rows > 0 &&
      (out.data == nullptr || (has_row_scales(out.dtype) && out.scale_row == nullptr))) {
    return make_error(ErrorCode::kInvalidArgument, "norm: the output has no {}",
                      out.data == nullptr ? "data" : "scale_row");
  }
  return {};
}

}  // namespace

std::span<const NormImplementation> norm_implementations() { return kImplementations; }

bool norm_turns(DeviceKind device, const Rotation& rotation, int64_t cols) {
  return device == DeviceKind::kGpu && rotation.group <= cuda::kMostTurnedGroup &&
         cols <= cuda::kMostTurnedColumns;
}

Status norm(const Context& context, const NormDesc& desc, const NormArgs& args) {
  INTAGLIO_TRY(check_desc(desc));
  INTAGLIO_TRY(check_out(desc, args.out));
  if (desc.rows == 0) return {};
  if (args.x == nullptr) return make_error(ErrorCode::kInvalidArgument, "norm: x is null");
  INTAGLIO_ASSIGN(
      const NormImplementation* chosen,
      choose(OpName{"norm", "a norm"}, norm_implementations(), desc, context, describe));
  return chosen->norm(context, desc, args);
}

Status gated_residual(const Context& context, const NormDesc& desc, const GatedResidualArgs& args,
                      const NormDesc* next_desc, const NormArgs* next) {
  INTAGLIO_TRY(check_desc(desc));
  if (desc.kind != NormKind::kRms && desc.kind != NormKind::kNone) {
    return make_error(ErrorCode::kInvalidArgument,
                      "gated_residual: the norm of y is {}; expected rms or none",
                      kind_name(desc.kind));
  }
  if (args.y_dtype != DType::kF32 && args.y_dtype != DType::kBF16) {
    return make_error(ErrorCode::kUnsupported, "gated_residual: y is {}; expected F32 or BF16",
                      dtype_name(args.y_dtype));
  }
  if ((next == nullptr) != (next_desc == nullptr)) {
    return make_error(ErrorCode::kInvalidArgument,
                      "gated_residual: next and next_desc must be given together");
  }
  if (next != nullptr) {
    INTAGLIO_TRY(check_desc(*next_desc));
    if (next_desc->rows != desc.rows || next_desc->cols != desc.cols) {
      return make_error(ErrorCode::kShapeMismatch,
                        "gated_residual: the next norm is [{}, {}]; expected [{}, {}]",
                        next_desc->rows, next_desc->cols, desc.rows, desc.cols);
    }
    INTAGLIO_TRY(check_out(*next_desc, next->out));
  }
  if (desc.rows == 0) return {};
  if (args.h == nullptr || args.y == nullptr) {
    return make_error(ErrorCode::kInvalidArgument, "gated_residual: h and y must not be null");
  }
  INTAGLIO_ASSIGN(const NormImplementation* chosen,
                  choose(OpName{"gated_residual", "a gated residual"}, norm_implementations(), desc,
                         context, describe));
  const Refusal refusal = next_desc == nullptr ? nullptr : chosen->can_run(*next_desc, context);
  if (refusal != nullptr)
    return make_error(ErrorCode::kUnsupported, "gated_residual: the next norm, {}: {}",
                      describe(*next_desc), refusal);
  return chosen->gated_residual(context, desc, args, next, next_desc);
}

}  // namespace intaglio
