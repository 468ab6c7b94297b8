// Linears of e4m3 rows and e4m3 columns on a GPU.
#include "core/cuda/device.h"
#include "core/memory.h"
#include "ops/cuda/launch/e4m3_rows.h"
#include "ops/cuda/launch/elementwise.h"
#include "ops/cuda/linear.h"
#include "ops/cuda/linear_passes.h"
#include "ops/cuda/lt_products.h"
#include "ops/cuda/stream.h"
#include "ops/elementwise.h"
#include "ops/linear_prepare.h"

namespace intaglio::cuda::op {
namespace {

// Better known when the weights are read than in the middle of a picture.
Status check_library(const Context& context, const LinearWeights& weights) {
  const auto* const scale = weights.scales.as<float>();
  const Status status = prepare_lt_product(
      context, LtKind::kFP8Rowwise,
      {static_cast<int>(kLinearRowHint), static_cast<int>(weights.n), static_cast<int>(weights.k)},
      {scale, scale});
  if (status) return {};
  std::string none;
  return make_error(ErrorCode::kUnsupported,
                    "fp8 linears: cuBLASLt {} on compute capability {}.{} has no e4m3 product with "
                    "a scale a row and a column ({}); expected cuBLASLt 12.9 or newer and a "
                    "compute capability that it supports, such as 9.0",
                    cublaslt_version(none), context.gpu->compute_capability / 10,
                    context.gpu->compute_capability % 10, status.error().message);
}

Status add_bias(const Context& context, const LinearWeights& weights, int64_t rows, void* product,
                DType type) {
  const AddBiasRowsParams p{.x = product,
                            .bias = weights.bias.as<float>(),
                            .rows = rows,
                            .cols = weights.n,
                            .type = type};
  return device_status(add_bias_rows(p, stream_of(context)), "a bias");
}

}  // namespace

Status quantize_e4m3_rows(const Context& context, const TensorView& x, const E4m3Rows& out) {
  const int64_t rows = x.shape[0], cols = x.shape[1];
  if (!is_float(x.dtype) || x.dtype == DType::kF64)
    return make_error(ErrorCode::kUnsupported,
                      "fp8 quantization: the input is {}, expected F32, BF16 or F16",
                      dtype_name(x.dtype));
  const E4m3RowsParams p{.x = x.data,
                         .ldx = cols,
                         .q = out.q,
                         .scale = out.scale,
                         .rows = static_cast<int32_t>(rows),
                         .cols = static_cast<int32_t>(cols),
                         .type = x.dtype};
  if (const char* reason = e4m3_rows_refusal(p))
    return make_error(ErrorCode::kUnsupported, "fp8 quantization of [{}, {}]: {}", rows, cols,
                      reason);
  return device_status(e4m3_rows(p, stream_of(context)), "fp8 quantization");
}

Status choose_f8(const Context&, const LinearDesc&, LinearWeights& weights) {
  weights.input = DType::kF8E4M3;  // its product is the library's
  return {};
}

Status prepare_f8(const Context& context, std::span<const StoredLinear> parts,
                  LinearWeights& weights) {
  const auto n = static_cast<size_t>(weights.n);
  INTAGLIO_ASSIGN(weights.packed, allocate(context, n * static_cast<size_t>(weights.k)));
  INTAGLIO_ASSIGN(weights.scales, allocate(context, n * sizeof(float)));
  INTAGLIO_TRY(check_library(context, weights));
  auto* q = weights.packed.as<uint8_t>();
  auto* scale = weights.scales.as<float>();
  for (const StoredLinear& part : parts) {
    AlignedBuffer floats;
    INTAGLIO_ASSIGN(const TensorView values, as_float_tensor(context, part, floats));
    INTAGLIO_ASSIGN(const AlignedBuffer raw, stage(context, values));
    INTAGLIO_TRY(quantize_e4m3_rows(context, {raw.data(), values.dtype, values.shape}, {q, scale}));
    INTAGLIO_TRY(synchronize(context));  // `raw` goes
    q += values.shape.count();
    scale += part.n();
  }
  return {};
}

size_t f8_scratch_bytes(const Context&, const LinearWeights& weights, const LinearCall& call) {
  return lt_product_scratch_bytes() +
         (needs_pass(call.epilogue) ? arena_bytes<BFloat16>(call.x.rows * weights.n) : 0);
}

Status run_f8(const Context& context, const LinearWeights& weights, const LinearCall& call) {
  const Activation& x = call.x;
  const int64_t out_cols = epilogue_columns(call.epilogue, weights.n);
  if (call.ldo != out_cols)
    return make_error(ErrorCode::kUnsupported,
                      "fp8 linear: output rows of {} elements, expected {}", call.ldo, out_cols);
  const bool pass = needs_pass(call.epilogue);
  const DType type = pass ? DType::kBF16 : call.out_dtype;  // of the product
  const Arena::Scope scope(*context.scratch);
  void* product = call.out;
  if (pass) {
    INTAGLIO_ASSIGN(product, context.scratch->take<BFloat16>(x.rows * weights.n));
  }
  INTAGLIO_TRY(run_lt_product(
      context, type == DType::kF32 ? LtKind::kFP8RowwiseToF32 : LtKind::kFP8Rowwise,
      {static_cast<int>(x.rows), static_cast<int>(weights.n), static_cast<int>(weights.k)},
      {.a = x.data,
       .w = weights.data(),
       .out = product,
       .scales = {x.scale_row, weights.scales.as<float>()}}));
  // The library's own biases of e4m3 products are bf16 or fp16.
  if (weights.bias.size() > 0) INTAGLIO_TRY(add_bias(context, weights, x.rows, product, type));
  if (!pass) return {};
  return epilogue_rows(context, {.epilogue = call.epilogue,
                                 .product = product,
                                 .product_dtype = type,
                                 .out = call.out,
                                 .out_dtype = call.out_dtype,
                                 .rows = x.rows,
                                 .cols = out_cols,
                                 .ldo = call.ldo});
}

}  // namespace intaglio::cuda::op
