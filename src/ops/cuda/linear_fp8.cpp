#include "ops/cuda/linear_fp8.h"

#include "core/cuda/device.h"
#include "core/memory.h"
#include "ops/cuda/device_types.h"
#include "ops/cuda/launch/e4m3_rows.h"
#include "ops/cuda/launch/elementwise.h"
#include "ops/cuda/linear.h"
#include "ops/cuda/linear_passes.h"
#include "ops/cuda/lt_products.h"
#include "ops/elementwise.h"

namespace intaglio::cuda::op {
namespace {

constexpr int kRowHint = 4096;  // rows for which the library is asked when weights are prepared

// Better known when the weights are read than in the middle of a picture.
Status check_library(const Context& context, const LinearWeights& weights) {
  const auto* const scale = weights.scale_col.as<float>();
  const Status status = prepare_lt_product(
      context, LtKind::kFP8Rowwise,
      {kRowHint, static_cast<int>(weights.n), static_cast<int>(weights.k)}, {scale, scale});
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

Status prepare_fp8(const Context& context, const std::vector<TensorView>& parts,
                   LinearWeights& weights) {
  const auto n = static_cast<size_t>(weights.n);
  INTAGLIO_ASSIGN(weights.packed, allocate(context, n * static_cast<size_t>(weights.k)));
  INTAGLIO_ASSIGN(weights.scale_col, allocate(context, n * sizeof(float)));
  INTAGLIO_TRY(check_library(context, weights));
  auto* q = weights.packed.as<uint8_t>();
  auto* scale = weights.scale_col.as<float>();
  for (const TensorView& part : parts) {
    INTAGLIO_ASSIGN(const AlignedBuffer raw, stage(context, part));
    INTAGLIO_TRY(quantize_e4m3_rows(context, {raw.data(), part.dtype, part.shape}, {q, scale}));
    INTAGLIO_TRY(synchronize(context));  // `raw` goes
    q += part.shape.count();
    scale += part.shape[0];
  }
  return {};
}

size_t fp8_scratch_bytes(const LinearWeights& weights, int64_t m) {
  return lt_product_scratch_bytes() +
         (needs_pass(weights.epilogue) ? arena_bytes<BFloat16>(m * weights.n) : 0);
}

Status run_fp8(const Context& context, const LinearWeights& weights, const Activation& x, void* out,
               DType out_dtype, int64_t ldo) {
  if (ldo != weights.out_cols())
    return make_error(ErrorCode::kUnsupported,
                      "fp8 linear: output rows of {} elements, expected {}", ldo,
                      weights.out_cols());
  const bool pass = needs_pass(weights.epilogue);
  const DType type = pass ? DType::kBF16 : out_dtype;  // of the product
  const Arena::Scope scope(*context.scratch);
  void* product = out;
  if (pass) {
    INTAGLIO_ASSIGN(product, context.scratch->take<BFloat16>(x.rows * weights.n));
  }
  INTAGLIO_TRY(run_lt_product(
      context, type == DType::kF32 ? LtKind::kFP8RowwiseToF32 : LtKind::kFP8Rowwise,
      {static_cast<int>(x.rows), static_cast<int>(weights.n), static_cast<int>(weights.k)},
      {.a = x.data,
       .w = weights.data(),
       .out = product,
       .scales = {x.scale_row, weights.scale_col.as<float>()}}));
  // The library's own biases of e4m3 products are bf16 or fp16.
  if (weights.bias.size() > 0) INTAGLIO_TRY(add_bias(context, weights, x.rows, product, type));
  if (!pass) return {};
  return epilogue_rows(context, {.epilogue = weights.epilogue,
                                 .product = product,
                                 .product_dtype = type,
                                 .out = out,
                                 .out_dtype = out_dtype,
                                 .rows = x.rows,
                                 .cols = weights.out_cols(),
                                 .ldo = ldo});
}

}  // namespace intaglio::cuda::op
