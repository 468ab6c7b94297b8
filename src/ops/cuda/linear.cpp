#include "ops/cuda/linear.h"

#include <algorithm>
#include <cstring>

#include "core/cuda/device.h"
#include "core/memory.h"
#include "ops/cuda/device_types.h"
#include "ops/cuda/kernel_trace.h"
#include "ops/cuda/launch/dequantize_weights.h"
#include "ops/cuda/launch/int8_linear.h"
#include "ops/cuda/launch/quantize_rows.h"
#include "ops/cuda/linear_fp8.h"
#include "ops/cuda/linear_nf4.h"
#include "ops/cuda/linear_passes.h"
#include "ops/cuda/workspace.h"
#include "ops/elementwise.h"
#include "ops/linear_prepare.h"

namespace intaglio::cuda::op {
namespace {

constexpr int64_t kRowHint = 4096;    // rows for which the float product is chosen
constexpr int64_t kS8KMultiple = 16;  // rows of int8 operands begin at multiples of 16 bytes

FloatGemmDesc float_desc(const LinearWeights& weights, int64_t m, DType out_dtype) {
  const DType in = weights.kind == LinearKind::kF32 ? DType::kF32 : DType::kBF16;
  return {.m = m,
          .n = weights.n,
          .k = weights.k,
          .in_dtype = in,
          .out_dtype = needs_pass(weights.epilogue) ? in : out_dtype,
          .has_bias = weights.bias.size() > 0};
}

// [n, k] of the product's type, parts one after the other.
Status prepare_float(const Context& context, const std::vector<TensorView>& parts,
                     LinearWeights& weights) {
  const DType dtype = weights.kind == LinearKind::kF32 ? DType::kF32 : DType::kBF16;
  INTAGLIO_ASSIGN(weights.float_gemm,
                  choose_float_gemm(float_desc(weights, kRowHint, dtype), context));
  INTAGLIO_ASSIGN(weights.packed, allocate(context, static_cast<size_t>(weights.n * weights.k) *
                                                        dtype_size(dtype)));
  auto* target = weights.packed.as<std::byte>();
  for (const TensorView& part : parts) {
    const size_t bytes = static_cast<size_t>(part.shape.count()) * dtype_size(dtype);
    if (part.dtype == dtype) {
      INTAGLIO_TRY(copy_in(context, target, part.data, bytes));
    } else {
      INTAGLIO_ASSIGN(const AlignedBuffer converted, AlignedBuffer::allocate(bytes));
      INTAGLIO_TRY(convert_weight_rows(context, part, dtype, converted.as<std::byte>()));
      INTAGLIO_TRY(copy_in(context, target, converted.data(), bytes));
      INTAGLIO_TRY(synchronize(context));
    }
    target += bytes;
  }
  return {};
}

// Row-major int8 [n, k] with a scale a row, made on the device.
Status prepare_s8(const Context& context, const std::vector<TensorView>& parts,
                  LinearWeights& weights) {
  const int64_t k = weights.k;
  const bool interleaved = is_interleaved(weights);
  INTAGLIO_ASSIGN(weights.packed, allocate(context, static_cast<size_t>(weights.n * k)));
  const std::vector<float> least(static_cast<size_t>(weights.n), kMinQuantScale);
  INTAGLIO_ASSIGN(weights.scale_col, upload(context, least));
  if (interleaved) INTAGLIO_TRY(fill_zero(context, weights.packed.data(), weights.packed.size()));
  auto* const q = weights.packed.as<int8_t>();
  auto* const scale = weights.scale_col.as<float>();
  int64_t first = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    const int64_t rows = parts[i].shape[0];
    INTAGLIO_ASSIGN(const AlignedBuffer raw, stage(context, parts[i]));
    const QuantizeRowsDesc desc{.input = parts[i].dtype};
    if (!interleaved) {
      INTAGLIO_TRY(run_quantize_rows(context, desc,
                                     {.x = raw.data(),
                                      .ldx = k,
                                      .rows = rows,
                                      .cols = k,
                                      .q = q + first * k,
                                      .scale = scale + first}));
      INTAGLIO_TRY(synchronize(context));
      first += rows;
      continue;
    }
    const int64_t groups = (rows + kSwigluGroup - 1) / kSwigluGroup;
    INTAGLIO_ASSIGN(const AlignedBuffer part_q,
                    allocate(context, static_cast<size_t>(groups * kSwigluGroup * k)));
    INTAGLIO_ASSIGN(const AlignedBuffer part_scale,
                    upload(context, std::vector<float>(static_cast<size_t>(groups * kSwigluGroup),
                                                       kMinQuantScale)));
    INTAGLIO_TRY(fill_zero(context, part_q.data(), part_q.size()));
    INTAGLIO_TRY(run_quantize_rows(context, desc,
                                   {.x = raw.data(),
                                    .ldx = k,
                                    .rows = rows,
                                    .cols = k,
                                    .q = part_q.as<int8_t>(),
                                    .scale = part_scale.as<float>()}));
    const int64_t at = interleaved_row(static_cast<int64_t>(i), 0);
    const auto group_bytes = static_cast<size_t>(kSwigluGroup * k);
    constexpr size_t kScaleBytes = kSwigluGroup * sizeof(float);
    INTAGLIO_TRY(
        copy_inside(context, q + at * k, part_q.data(),
                    {group_bytes, static_cast<size_t>(groups), 2 * group_bytes, group_bytes}));
    INTAGLIO_TRY(
        copy_inside(context, scale + at, part_scale.data(),
                    {kScaleBytes, static_cast<size_t>(groups), 2 * kScaleBytes, kScaleBytes}));
    INTAGLIO_TRY(synchronize(context));
  }
  if (weights.kind == LinearKind::kS8Dequant) {
    INTAGLIO_ASSIGN(weights.float_gemm,
                    choose_float_gemm(float_desc(weights, kRowHint, DType::kBF16), context));
    return {};
  }
  const S8GemmDesc desc{.m = kRowHint, .n = weights.n, .k = k, .epilogue = weights.epilogue};
  INTAGLIO_ASSIGN(weights.s8_gemm, choose_s8_gemm(desc, context));
  return {};
}

Status run_float(const Context& context, const LinearWeights& weights, const Activation& x,
                 const void* w, void* out, DType out_dtype, int64_t ldo) {
  const bool pass = needs_pass(weights.epilogue);
  const FloatGemmDesc desc = float_desc(weights, x.rows, out_dtype);
  const Arena::Scope scope(*context.scratch);
  void* product = out;
  if (pass) {
    INTAGLIO_ASSIGN(product,
                    context.scratch->take<std::byte>(
                        x.rows * weights.n * static_cast<int64_t>(dtype_size(desc.out_dtype))));
  }
  INTAGLIO_TRY(weights.float_gemm->run(context, desc,
                                       {.a = x.data,
                                        .lda = x.cols,
                                        .w = w,
                                        .bias = weights.bias.as<float>(),
                                        .out = product,
                                        .ldo = pass ? weights.n : ldo}));
  if (!pass) return {};
  return epilogue_rows(context, {.epilogue = weights.epilogue,
                                 .product = product,
                                 .product_dtype = desc.out_dtype,
                                 .out = out,
                                 .out_dtype = out_dtype,
                                 .rows = x.rows,
                                 .cols = weights.out_cols(),
                                 .ldo = ldo});
}

Status run_dequant(const Context& context, const LinearWeights& weights, const Activation& x,
                   void* out, DType out_dtype, int64_t ldo) {
  const Arena::Scope scope(*context.scratch);
  INTAGLIO_ASSIGN(BFloat16* const w, context.scratch->take<BFloat16>(weights.n * weights.k));
  DequantizeWeightsParams p;
  p.w = weights.data();
  p.scale = weights.scale_col.as<float>();
  p.out = w;
  p.ldw = weights.k;
  p.n = static_cast<int32_t>(weights.n);
  p.k = static_cast<int32_t>(weights.k);
  p.format = weights.kind == LinearKind::kNf4 ? WeightFormat::kNf4 : WeightFormat::kI8;
  if (const char* reason = dequantize_weights_refusal(p))
    return make_error(ErrorCode::kUnsupported, "dequantization of [{}, {}] weights: {}", weights.n,
                      weights.k, reason);
  INTAGLIO_TRY(
      device_status(dequantize_weights(p, stream_of(context)), "dequantization of weights"));
  return run_float(context, weights, x, w, out, out_dtype, ldo);
}

S8GemmParams s8_params(const S8GemmDesc& desc) {
  S8GemmParams p{};
  p.m = static_cast<int32_t>(desc.m);
  p.n = static_cast<int32_t>(desc.n);
  p.k = static_cast<int32_t>(desc.k);
  p.lda = desc.k;
  p.ldw = desc.k;
  p.epilogue = desc.epilogue;
  p.ldo = epilogue_columns(desc.epilogue, desc.n);
  p.out_type = desc.out_dtype;
  return p;
}

Refusal s8_refusal(const S8GemmDesc& desc, const Context& context) {
  if (const Refusal refusal = refuse_device(DeviceKind::kGpu, context)) return refusal;
  return desc.k % kS8KMultiple == 0 ? nullptr : "k is no multiple of 16";
}

size_t s8_packed_bytes(int64_t n, int64_t k) { return static_cast<size_t>(n * k); }
void s8_pack(const int8_t* w, int64_t n, int64_t k, void* packed) {
  std::memcpy(packed, w, s8_packed_bytes(n, k));
}
void s8_unpack_rows(const void* packed, int64_t, int64_t k, int64_t first, int64_t count,
                    int8_t* out) {
  std::memcpy(out, static_cast<const int8_t*>(packed) + first * k, s8_packed_bytes(count, k));
}

size_t s8_workspace_bytes(const S8GemmDesc& desc, const Context& context) {
  const auto bytes = int8_gemm_workspace(s8_params(desc), context.gpu->ordinal);
  return bytes ? *bytes : 0;
}
size_t s8_scratch_bytes(const S8GemmDesc& desc, const Context& context) {
  return workspace_scratch_bytes(s8_workspace_bytes(desc, context));
}

Status run_s8(const Context& context, const S8GemmDesc& desc, const S8GemmArgs& args) {
  S8GemmParams p = s8_params(desc);
  p.a = args.a;
  p.lda = args.lda;
  p.a_scale_row = args.a_scale_row;
  p.w = static_cast<const int8_t*>(args.w_packed);
  p.w_scale_col = args.w_scale_col;
  p.bias = args.bias;
  p.out = args.out;
  p.ldo = args.ldo;
  const Arena::Scope scope(*context.scratch);
  const size_t bytes = s8_workspace_bytes(desc, context);
  INTAGLIO_ASSIGN(void* const workspace, take_workspace(context, bytes));
  trace_kernel([&] {
    return fmt::format("s8_gemm m={} n={} k={} epilogue={} out={} on cuda:{}: {}", p.m, p.n, p.k,
                       epilogue_name(p.epilogue), dtype_name(p.out_type), context.gpu->ordinal,
                       int8_gemm_kernel(p, context.gpu->ordinal));
  });
  return int8_gemm(p, context.gpu->ordinal, {workspace, bytes}, context.stream);
}

}  // namespace

const S8GemmImplementation kS8Gemm{"cuda_s8_gemm", s8_refusal,      s8_packed_bytes,
                                   s8_pack,        s8_unpack_rows,  s8_scratch_bytes,
                                   run_s8,         DeviceKind::kGpu};

Status prepare_linear(const Context& context, const std::vector<TensorView>& parts,
                      LinearWeights& weights) {
  switch (weights.kind) {
    case LinearKind::kF32:
      weights.input = DType::kF32;
      return prepare_float(context, parts, weights);
    case LinearKind::kBF16:
      weights.input = DType::kBF16;
      return prepare_float(context, parts, weights);
    case LinearKind::kS8:
      weights.input = DType::kI8;
      return prepare_s8(context, parts, weights);
    case LinearKind::kS8Dequant:
      weights.input = DType::kBF16;
      return prepare_s8(context, parts, weights);
    case LinearKind::kF8:
      weights.input = DType::kF8E4M3;
      return prepare_fp8(context, parts, weights);
    case LinearKind::kNf4:
      weights.input = DType::kBF16;
      INTAGLIO_ASSIGN(weights.float_gemm,
                      choose_float_gemm(float_desc(weights, kRowHint, DType::kBF16), context));
      return prepare_nf4(context, parts, weights);
  }
  return make_error(ErrorCode::kUnsupported, "a linear of this kind has no GPU form");
}

size_t linear_scratch_bytes(const Context& context, const LinearWeights& weights, int64_t m,
                            DType out_dtype) {
  if (weights.kind == LinearKind::kF8) return fp8_scratch_bytes(weights, m);
  const FloatGemmDesc desc = float_desc(weights, m, out_dtype);
  size_t bytes = align_up(weights.float_gemm->scratch_bytes(desc, context.threads), kCacheLine);
  if (needs_pass(weights.epilogue)) {
    bytes +=
        arena_bytes<std::byte>(m * weights.n * static_cast<int64_t>(dtype_size(desc.out_dtype)));
  }
  if (weights.kind == LinearKind::kS8Dequant || weights.kind == LinearKind::kNf4)
    bytes += arena_bytes<BFloat16>(weights.n * weights.k);
  return bytes;
}

Status linear(const Context& context, const LinearWeights& weights, const Activation& x, void* out,
              DType out_dtype, int64_t ldo) {
  if (weights.kind == LinearKind::kS8Dequant || weights.kind == LinearKind::kNf4)
    return run_dequant(context, weights, x, out, out_dtype, ldo);
  if (weights.kind == LinearKind::kF8) return run_fp8(context, weights, x, out, out_dtype, ldo);
  return run_float(context, weights, x, weights.data(), out, out_dtype, ldo);
}

Refusal quantize_rows_refusal(const QuantizeRowsDesc& desc, const Context& context) {
  if (const Refusal refusal = refuse_device(DeviceKind::kGpu, context)) return refusal;
  return is_float(desc.input) && desc.input != DType::kF64 ? nullptr
                                                           : "the input must be F32, BF16 or F16";
}

Status run_quantize_rows(const Context& context, const QuantizeRowsDesc& desc,
                         const QuantizeRowsArgs& args) {
  return int8_quantize_rows({.x = args.x,
                             .x_type = desc.input,
                             .ldx = args.ldx,
                             .q = args.q,
                             .ldq = args.cols,
                             .scale = args.scale,
                             .rows = static_cast<int32_t>(args.rows),
                             .cols = static_cast<int32_t>(args.cols),
                             .rotation_group = static_cast<int32_t>(desc.rotation.group),
                             .smooth = args.smooth},
                            context.stream);
}

}  // namespace intaglio::cuda::op
