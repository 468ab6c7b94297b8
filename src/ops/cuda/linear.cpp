#include "ops/cuda/linear.h"

#include <algorithm>
#include <cstring>

#include "core/cuda/device.h"
#include "core/cuda/staged_copy.h"
#include "core/memory.h"
#include "ops/cpu/s8_gemm_implementations.h"
#include "ops/cuda/kernel_trace.h"
#include "ops/cuda/launch/dequantize_weights.h"
#include "ops/cuda/launch/int8_linear.h"
#include "ops/cuda/launch/quantize_rows.h"
#include "ops/cuda/linear_passes.h"
#include "ops/cuda/stream.h"
#include "ops/cuda/workspace.h"
#include "ops/elementwise.h"
#include "ops/linear_prepare.h"

namespace intaglio::cuda::op {
namespace {

constexpr int64_t kS8KMultiple = 16;  // rows of int8 operands begin at multiples of 16 bytes

FloatGemmDesc float_desc(const LinearWeights& weights, const LinearCall& call) {
  const DType in = weights.kind == LinearKind::kF32 ? DType::kF32 : DType::kBF16;
  return {.m = call.x.rows,
          .n = weights.n,
          .k = weights.k,
          .in_dtype = in,
          .out_dtype = needs_pass(call.epilogue) ? in : call.out_dtype,
          .has_bias = weights.bias.size() > 0};
}

// With weights `w` of the product's type.
Status run_product(const Context& context, const LinearWeights& weights, const LinearCall& call,
                   const void* w) {
  const Activation& x = call.x;
  const bool pass = needs_pass(call.epilogue);
  const FloatGemmDesc desc = float_desc(weights, call);
  const Arena::Scope scope(*context.scratch);
  void* product = call.out;
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
                                        .ldo = pass ? weights.n : call.ldo}));
  if (!pass) return {};
  return epilogue_rows(context, {.epilogue = call.epilogue,
                                 .product = product,
                                 .product_dtype = desc.out_dtype,
                                 .out = call.out,
                                 .out_dtype = call.out_dtype,
                                 .rows = x.rows,
                                 .cols = epilogue_columns(call.epilogue, weights.n),
                                 .ldo = call.ldo});
}

// By the CPU's threads, which make the same bytes as the device (docs/numerics.md): four times
// fewer of them cross over than of floats. A piece is quantized while the one before is copied.
// Of `turns` parts each has `group` rows in its turn.
Status quantize_on_host(const Context& context, const StoredLinear& part, int8_t* q, float* scale,
                        size_t group = 1, size_t turns = 1) {
  Context host = context;
  host.gpu = nullptr;
  const auto rows = static_cast<size_t>(part.n()), k = static_cast<size_t>(part.k());
  INTAGLIO_ASSIGN(const AlignedBuffer host_scale, AlignedBuffer::allocate(rows * sizeof(float)));
  const StagedTarget to{.data = q, .unit = group * k, .stride = turns * group * k};
  INTAGLIO_TRY(make_staged(context, to, rows * k, [&](size_t at, std::span<std::byte> out) {
    const auto row = static_cast<int64_t>(at / k), count = static_cast<int64_t>(out.size() / k);
    return quantize_weight_rows(host, part.rows(row, count), reinterpret_cast<int8_t*>(out.data()),
                                host_scale.as<float>() + row);
  }));
  // Through pinned memory as well: a copy of other memory waits for all before it.
  const size_t unit = group * sizeof(float);
  return make_staged(context, {.data = scale, .unit = unit, .stride = turns * unit},
                     host_scale.size(), [&](size_t at, std::span<std::byte> out) -> Status {
                       std::memcpy(out.data(), host_scale.as<std::byte>() + at, out.size());
                       return {};
                     });
}

// The rows of a part as int8 rows and scales in device memory.
Status s8_rows(const Context& context, const LinearWeights& weights, const StoredLinear& part,
               int8_t* q, float* scale) {
  if (weights.as_stored) {
    INTAGLIO_TRY(copy_in(context, q, part.values.data, part.values.size_bytes()));
    return copy_in(context, scale, part.scales.data, part.scales.size_bytes());
  }
  if (part.values.dtype == DType::kF8E4M3) return quantize_on_host(context, part, q, scale);
  AlignedBuffer floats;
  INTAGLIO_ASSIGN(const TensorView values, as_float_tensor(context, part, floats));
  INTAGLIO_ASSIGN(const AlignedBuffer raw, stage(context, values));
  INTAGLIO_TRY(run_quantize_rows(context, {.input = values.dtype},
                                 {.x = raw.data(),
                                  .ldx = part.k(),
                                  .rows = part.n(),
                                  .cols = part.k(),
                                  .q = q,
                                  .scale = scale}));
  return synchronize(context);  // `raw` goes
}

// The same in turns of 16 rows with another part, whose first row is row 16 or -16 from it.
Status interleaved_s8_rows(const Context& context, const LinearWeights& weights,
                           const StoredLinear& part, int8_t* q, float* scale) {
  const int64_t k = part.k();
  if (!weights.as_stored && part.values.dtype == DType::kF8E4M3)
    return quantize_on_host(context, part, q, scale, kSwigluGroup, 2);
  const auto groups = static_cast<size_t>((part.n() + kSwigluGroup - 1) / kSwigluGroup);
  const size_t rows = groups * kSwigluGroup;
  INTAGLIO_ASSIGN(const AlignedBuffer part_q, allocate(context, rows * static_cast<size_t>(k)));
  INTAGLIO_ASSIGN(const AlignedBuffer part_scale,
                  upload(context, std::vector<float>(rows, kMinQuantScale)));
  INTAGLIO_TRY(fill_zero(context, part_q.data(), part_q.size()));
  INTAGLIO_TRY(s8_rows(context, weights, part, part_q.as<int8_t>(), part_scale.as<float>()));
  const auto group_bytes = static_cast<size_t>(kSwigluGroup * k);
  constexpr size_t kScaleBytes = kSwigluGroup * sizeof(float);
  INTAGLIO_TRY(
      copy_inside(context, q, part_q.data(), {group_bytes, groups, 2 * group_bytes, group_bytes}));
  INTAGLIO_TRY(copy_inside(context, scale, part_scale.data(),
                           {kScaleBytes, groups, 2 * kScaleBytes, kScaleBytes}));
  return synchronize(context);  // the part's memory goes
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
  if (const Refusal refusal = refuse_s8_gemm_desc(desc)) return refusal;
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
  INTAGLIO_TRY(check_s8_gemm(desc, args, true));
  S8GemmParams p = s8_params(desc);
  p.a = args.a;
  p.lda = args.lda;
  p.a_scale_row = args.a_scale_row;
  p.w = static_cast<const int8_t*>(args.w_packed);
  p.w_scale_col = args.w_scale_col;
  p.bias = args.bias;
  p.out = args.out;
  p.ldo = args.ldo;
  p.side_x = static_cast<const uint16_t*>(args.side.x);
  p.side_w = static_cast<const uint16_t*>(args.side.w);
  p.side_rank = static_cast<int32_t>(args.side.rank);
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

Status choose_float(const Context& context, const LinearDesc& desc, LinearWeights& weights) {
  weights.input = weights.kind == LinearKind::kF32 ? DType::kF32 : DType::kBF16;
  return choose_products(context, desc, weights);
}

Status choose_bf16(const Context& context, const LinearDesc& desc, LinearWeights& weights) {
  weights.input = DType::kBF16;
  return choose_products(context, desc, weights);
}

// [n, k] of the product's type, parts one after the other.
Status prepare_float(const Context& context, std::span<const StoredLinear> parts,
                     LinearWeights& weights) {
  const DType dtype = weights.input;
  INTAGLIO_ASSIGN(weights.packed, allocate(context, static_cast<size_t>(weights.n * weights.k) *
                                                        dtype_size(dtype)));
  auto* target = weights.packed.as<std::byte>();
  for (const StoredLinear& part : parts) {
    const size_t bytes = static_cast<size_t>(part.values.shape.count()) * dtype_size(dtype);
    if (part.encoding == Encoding::kFloat && part.values.dtype == dtype) {
      INTAGLIO_TRY(copy_in(context, target, part.values.data, bytes));
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

Status prepare_s8(const Context& context, std::span<const StoredLinear> parts,
                  LinearWeights& weights) {
  const int64_t k = weights.k;
  const bool interleaved = is_interleaved(weights);
  INTAGLIO_ASSIGN(weights.packed, allocate(context, static_cast<size_t>(weights.n * k)));
  const std::vector<float> least(static_cast<size_t>(weights.n), kMinQuantScale);
  INTAGLIO_ASSIGN(weights.scales, upload(context, least));
  if (interleaved) INTAGLIO_TRY(fill_zero(context, weights.packed.data(), weights.packed.size()));
  int64_t first = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    const int64_t at = interleaved ? interleaved_row(static_cast<int64_t>(i), 0) : first;
    int8_t* const q = weights.packed.as<int8_t>() + at * k;
    float* const scale = weights.scales.as<float>() + at;
    INTAGLIO_TRY(interleaved ? interleaved_s8_rows(context, weights, parts[i], q, scale)
                             : s8_rows(context, weights, parts[i], q, scale));
    first += parts[i].n();
  }
  return {};
}

size_t float_scratch_bytes(const Context& context, const LinearWeights& weights,
                           const LinearCall& call) {
  const FloatGemmDesc desc = float_desc(weights, call);
  const size_t bytes =
      align_up(weights.float_gemm->scratch_bytes(desc, context.threads), kCacheLine);
  if (!needs_pass(call.epilogue)) return bytes;
  return bytes + arena_bytes<std::byte>(call.x.rows * weights.n *
                                        static_cast<int64_t>(dtype_size(desc.out_dtype)));
}

size_t dequant_scratch_bytes(const Context& context, const LinearWeights& weights,
                             const LinearCall& call) {
  return float_scratch_bytes(context, weights, call) + arena_bytes<BFloat16>(weights.n * weights.k);
}

Status run_float(const Context& context, const LinearWeights& weights, const LinearCall& call) {
  return run_product(context, weights, call, weights.data());
}

Status run_dequant(const Context& context, const LinearWeights& weights, const LinearCall& call) {
  const Arena::Scope scope(*context.scratch);
  INTAGLIO_ASSIGN(BFloat16* const w, context.scratch->take<BFloat16>(weights.n * weights.k));
  DequantizeWeightsParams p;
  p.w = weights.data();
  p.scale = weights.scales.as<float>();
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
  return run_product(context, weights, call, w);
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
