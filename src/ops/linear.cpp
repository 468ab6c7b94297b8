#include "ops/linear.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/memory.h"
#include "ops/cpu/linear.h"
#include "ops/linear_observer.h"
#include "ops/linear_prepare.h"
#include "ops/norm.h"
#include "ops/side_branch.h"
#if defined(INTAGLIO_HAS_CUDA)
#include "ops/cuda/linear.h"
#endif

namespace intaglio {
namespace {

// Of an implementation of one kind: `desc` is of another, or of a size that it does not take.
Refusal refuse_other_than(LinearKind kind, DeviceKind device, const LinearDesc& desc) {
  if (desc.kind != kind) return "another precision";
  return kind_at_size(device, kind, desc.n, desc.k) == kind ? nullptr : "sizes are no multiples";
}

template <LinearKind kKind>
Refusal takes(const LinearDesc& desc, const Context& context) {
  if (const Refusal refusal = linear_kind_refusal(kKind, context)) return refusal;
  return refuse_other_than(kKind, device_kind(context), desc);
}

// Of the last one, which takes what the others have no product for.
Refusal takes_floats(const LinearDesc& desc, const Context& context) {
  if (const Refusal refusal = linear_kind_refusal(desc.kind, context)) return refusal;
  const LinearKind kind = kind_at_size(device_kind(context), desc.kind, desc.n, desc.k);
  return kind == LinearKind::kF32 || kind == LinearKind::kBF16 ? nullptr : "not a float product";
}

// ---- The int8 product, which a list of its own has for every device.

Status choose_s8(const Context& context, const LinearDesc& desc, LinearWeights& weights) {
  weights.input = DType::kI8;
  return choose_products(context, desc, weights);
}

S8GemmDesc s8_desc(const LinearWeights& weights, const LinearCall& call) {
  return {.m = call.x.rows,
          .n = weights.n,
          .k = weights.k,
          .epilogue = call.epilogue,
          .out_dtype = call.out_dtype};
}

size_t s8_scratch_bytes(const Context& context, const LinearWeights& weights,
                        const LinearCall& call) {
  return align_up(weights.s8_gemm->scratch_bytes(s8_desc(weights, call), context), kCacheLine);
}

Status run_s8(const Context& context, const LinearWeights& weights, const LinearCall& call) {
  return weights.s8_gemm->run(
      context, s8_desc(weights, call),
      {.a = call.x.as<int8_t>(),
       .lda = call.x.cols,
       .a_scale_row = call.x.scale_row,
       .w_packed = weights.data(),
       .w_scale_col = weights.scales.as<float>(),
       .bias = call.side_bias != nullptr ? call.side_bias : weights.bias.as<float>(),
       .out = call.out,
       .ldo = call.ldo,
       .side = call.side});
}

std::string describe(const LinearDesc& desc) {
  std::string text = fmt::format("{} n={} k={}", linear_kind_name(desc.kind), desc.n, desc.k);
  if (needs_pass(desc.epilogue)) text += fmt::format(" {}", epilogue_name(desc.epilogue));
  if (desc.has_bias) text += " bias";
  if (desc.rotation.kind == RotationKind::kConvRot)
    text += fmt::format(" rotated in {}", desc.rotation.group);
  if (desc.smooth) text += " smoothed";
  return text;
}

// Whether all parts are smoothed by the same numbers.
bool same_smooth(const std::vector<StoredLinear>& parts) {
  const TensorView& first = parts.front().smooth;
  return first.data == nullptr ||
         std::all_of(parts.begin(), parts.end(), [&](const StoredLinear& part) {
           return std::memcmp(part.smooth.data, first.data, first.size_bytes()) == 0;
         });
}

LinearDesc describe_source(LinearKind kind, GemmEpilogue epilogue, const LinearShape& shape,
                           const LinearSource& source) {
  LinearDesc desc{.kind = kind, .epilogue = epilogue, .n = shape.n, .k = shape.k};
  desc.has_bias = !source.added_bias.empty() ||
                  std::any_of(source.biases.begin(), source.biases.end(),
                              [](const TensorView& bias) { return bias.data != nullptr; });
  std::vector<StoredForm> forms;
  for (const StoredLinear& part : source.parts) forms.push_back(part.form());
  desc.as_stored = runs_as_stored(kind, forms) && same_smooth(source.parts);
  if (!desc.as_stored) return desc;
  desc.rotation = forms.front().rotation;
  desc.smooth = forms.front().smooth;
  return desc;
}

Status check_call(const Context& context, const LinearWeights& weights, const Activation& x,
                  DType out_dtype, int64_t ldo) {
  if (x.dtype != weights.input_dtype() || x.cols != weights.k) {
    return make_error(ErrorCode::kShapeMismatch,
                      "linear: the input is {} [{}, {}], the weights take {} with {} columns",
                      dtype_name(x.dtype), x.rows, x.cols, dtype_name(weights.input_dtype()),
                      weights.k);
  }
  if (!(x.rotation == weights.rotation)) {
    return make_error(ErrorCode::kInvalidArgument,
                      "linear: the input's columns are turned in groups of {}, those of the "
                      "weights in groups of {}",
                      x.rotation.group, weights.rotation.group);
  }
  if (out_dtype != DType::kF32 && out_dtype != DType::kBF16) {
    return make_error(ErrorCode::kInvalidArgument, "linear: the output is {}, expected F32 or BF16",
                      dtype_name(out_dtype));
  }
  if (ldo < weights.out_cols()) {
    return make_error(ErrorCode::kShapeMismatch,
                      "linear: output rows of {} elements, expected at least {}", ldo,
                      weights.out_cols());
  }
  if (context.scratch == nullptr)
    return make_error(ErrorCode::kInvalidArgument, "linear: context.scratch is null");
  return {};
}

thread_local LinearObserver* observer = nullptr;

Status run_linear(const Context& context, const LinearWeights& weights, const LinearCall& call) {
  if (weights.side != nullptr) return run_with_side_branch(context, weights, call);
  return weights.implementation->run(context, weights, call);
}

}  // namespace

std::span<const LinearImplementation> linear_implementations() {
  static constexpr LinearImplementation kImplementations[] = {
#if defined(INTAGLIO_HAS_CUDA)
    {"cuda_s8_linear", takes<LinearKind::kS8>, choose_s8, cuda::op::prepare_s8, s8_scratch_bytes,
     run_s8, DeviceKind::kGpu, true},
    {"cuda_f8_linear", takes<LinearKind::kF8>, cuda::op::choose_f8, cuda::op::prepare_f8,
     cuda::op::f8_scratch_bytes, cuda::op::run_f8, DeviceKind::kGpu},
    {"cuda_dequant_s8_linear", takes<LinearKind::kS8Dequant>, cuda::op::choose_bf16,
     cuda::op::prepare_s8, cuda::op::dequant_scratch_bytes, cuda::op::run_dequant,
     DeviceKind::kGpu},
    {"cuda_dequant_nf4_linear", takes<LinearKind::kNf4>, cuda::op::choose_bf16,
     cuda::op::prepare_nf4, cuda::op::dequant_scratch_bytes, cuda::op::run_dequant,
     DeviceKind::kGpu},
    {"cuda_float_linear", takes_floats, cuda::op::choose_float, cuda::op::prepare_float,
     cuda::op::float_scratch_bytes, cuda::op::run_float, DeviceKind::kGpu},
#endif
    {"s8_linear", takes<LinearKind::kS8>, choose_s8, cpu::prepare_s8, s8_scratch_bytes, run_s8},
    {"dequant_s8_linear", takes<LinearKind::kS8Dequant>, cpu::choose_dequant_s8,
     cpu::prepare_dequant_s8, cpu::dequant_s8_scratch_bytes, cpu::run_dequant_s8},
    {"float_linear", takes_floats, cpu::choose_float, cpu::prepare_float, cpu::float_scratch_bytes,
     cpu::run_float},
  };
  return kImplementations;
}

std::string_view linear_kind_name(LinearKind kind) {
  switch (kind) {
    case LinearKind::kF32:
      return "f32";
    case LinearKind::kBF16:
      return "bf16";
    case LinearKind::kS8:
      return "int8";
    case LinearKind::kS8Dequant:
      return "int8-dequant";
    case LinearKind::kF8:
      return "fp8";
    case LinearKind::kNf4:
      return "nf4";
  }
  return "f32";
}

Refusal linear_kind_refusal(LinearKind kind, const Context& context) {
  constexpr int kFirstFp8 = 89;  // compute capability
  if (kind == LinearKind::kF8 &&
      (context.gpu == nullptr || context.gpu->compute_capability < kFirstFp8))
    return "fp8 needs a GPU of compute capability 8.9 or newer";
  if (kind == LinearKind::kNf4 && context.gpu == nullptr) return "nf4 needs a GPU";
  return nullptr;
}

LinearKind kind_at_size(DeviceKind device, LinearKind kind, int64_t n, int64_t k) {
  constexpr int64_t kFp8Multiple = 16;  // cuBLASLt: rows of operands at multiples of 16 bytes
  constexpr int64_t kNf4Multiple = 64;  // no block of an absmax crosses a row
  constexpr int64_t kS8Multiple = 16;   // a GPU's rows of int8 begin at multiples of 16 bytes
  const bool s8 = kind == LinearKind::kS8 || kind == LinearKind::kS8Dequant;
  const bool fits = kind == LinearKind::kF8    ? n % kFp8Multiple == 0 && k % kFp8Multiple == 0
                    : kind == LinearKind::kNf4 ? k % kNf4Multiple == 0
                    : s8 && device == DeviceKind::kGpu ? k % kS8Multiple == 0
                                                       : true;
  return fits ? kind : LinearKind::kBF16;
}

bool runs_as_stored(LinearKind kind, std::span<const StoredForm> parts) {
  if (parts.empty()) return false;
  const StoredForm& first = parts.front();
  const bool alike = std::all_of(parts.begin(), parts.end(), [&](const StoredForm& part) {
    return part.encoding == Encoding::kInt8Rows && part.rotation == first.rotation &&
           part.smooth == first.smooth;
  });
  const bool plain = first.rotation.kind == RotationKind::kNone && !first.smooth;
  return alike && (kind == LinearKind::kS8 || (kind == LinearKind::kS8Dequant && plain));
}

void set_sizes(DeviceKind device, const LinearDesc& desc, LinearWeights& weights) {
  weights.kind = kind_at_size(device, desc.kind, desc.n, desc.k);
  weights.epilogue = desc.epilogue;
  weights.n = desc.n;
  weights.k = desc.k;
  if (is_interleaved(weights))
    weights.n = 2 * static_cast<int64_t>(align_up(static_cast<size_t>(desc.n / 2), kSwigluGroup));
}

bool LinearWeights::needs_float_rows() const {
  if (smoothed || (side != nullptr && has_row_scales(input))) return true;
  if (rotation.kind == RotationKind::kNone) return false;
  return implementation == nullptr || !norm_turns(implementation->device, rotation, k);
}

Expected<LinearWeights> plan_linear(const Context& context, const LinearDesc& desc) {
  if (const Refusal refusal = linear_kind_refusal(desc.kind, context))
    return make_error(ErrorCode::kUnsupported, "a linear: {}", refusal);
  LinearWeights weights;
  set_sizes(device_kind(context), desc, weights);
  INTAGLIO_ASSIGN(
      weights.implementation,
      choose(OpName{"linear", "a linear"}, linear_implementations(), desc, context, describe));
  if (weights.kind == desc.kind) {
    weights.as_stored = desc.as_stored;
    weights.rotation = desc.rotation;
    weights.smoothed = desc.smooth;
  }
  INTAGLIO_TRY(weights.implementation->choose(context, desc, weights));
  return weights;
}

std::vector<StoredLinear> float_parts(std::span<const TensorView> parts) {
  std::vector<StoredLinear> stored;
  for (const TensorView& part : parts) stored.push_back({.values = part});
  return stored;
}

Expected<LinearWeights> make_linear(const Context& context, LinearKind kind, GemmEpilogue epilogue,
                                    const LinearSource& source) {
  INTAGLIO_TRY(check_cancelled(context));  // loading stops between tensors
  INTAGLIO_ASSIGN(const LinearShape shape, check_linear(epilogue, source));
  INTAGLIO_ASSIGN(LinearWeights weights,
                  plan_linear(context, describe_source(kind, epilogue, shape, source)));
  if (weights.kind != kind) {
    log(LogLevel::kWarning,
        "a linear of {} x {} weights runs in {}: {} has no product of that size", shape.n, shape.k,
        linear_kind_name(weights.kind), linear_kind_name(kind));
  }
  INTAGLIO_ASSIGN(weights.bias, prepare_bias(context, source, weights));
  INTAGLIO_TRY(weights.implementation->prepare(context, source.parts, weights));
  if (weights.smoothed) {
    const TensorView& smooth = source.parts.front().smooth;
    INTAGLIO_ASSIGN(weights.smooth, upload(context, {smooth.as<float>(),
                                                     static_cast<size_t>(smooth.shape.count())}));
  }
  return weights;
}

size_t linear_scratch_bytes(const Context& context, const LinearWeights& weights, int64_t m,
                            DType out_dtype) {
  if (m <= 0) return 0;
  if (weights.side != nullptr) return side_branch_scratch_bytes(context, weights, m, out_dtype);
  return weights.implementation->scratch_bytes(
      context, weights, {.x = {.rows = m}, .out_dtype = out_dtype, .epilogue = weights.epilogue});
}

Status linear(const Context& context, const LinearWeights& weights, const Activation& x, void* out,
              DType out_dtype, int64_t ldo) {
  INTAGLIO_TRY(check_call(context, weights, x, out_dtype, ldo));
  if (x.rows <= 0) return {};
  const LinearCall call{
      .x = x, .out = out, .out_dtype = out_dtype, .ldo = ldo, .epilogue = weights.epilogue};
  if (observer == nullptr) return run_linear(context, weights, call);
  INTAGLIO_TRY(observer->before(context, weights, call));
  INTAGLIO_TRY(run_linear(context, weights, call));
  return observer->after(context, weights, call);
}

ObservedLinears::ObservedLinears(LinearObserver& now) : outer_(std::exchange(observer, &now)) {}
ObservedLinears::~ObservedLinears() { observer = outer_; }

}  // namespace intaglio
