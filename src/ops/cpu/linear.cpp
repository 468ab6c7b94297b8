#include "ops/cpu/linear.h"

#include <algorithm>

#include "core/parallel_tasks.h"
#include "ops/cpu/float_row_driver.h"
#include "ops/elementwise.h"
#include "ops/linear_prepare.h"

namespace intaglio::cpu {
namespace {

// Rows of a float product with an epilogue at a time: bounds its float intermediate.
constexpr int64_t kEpilogueRows = 512;
// bf16 weights dequantized at a time.
constexpr int64_t kDequantBytes = int64_t{8} << 20;

size_t scratch_size(size_t bytes) { return align_up(bytes, kCacheLine); }

// Of `n` columns of the product and `m` rows of a call.
FloatGemmDesc float_desc(const LinearWeights& weights, const LinearCall& call, int64_t m,
                         int64_t n) {
  return {.m = m,
          .n = n,
          .k = weights.k,
          .in_dtype = weights.kind == LinearKind::kF32 ? DType::kF32 : DType::kBF16,
          .out_dtype = needs_pass(call.epilogue) ? DType::kF32 : call.out_dtype,
          .has_bias = weights.bias.size() > 0};
}

void* advance(void* out, DType dtype, int64_t elements) {
  return static_cast<std::byte*>(out) + elements * static_cast<int64_t>(dtype_size(dtype));
}

Status run_float_gemm(const Context& context, const FloatGemmImplementation& gemm,
                      const FloatGemmDesc& desc, const FloatGemmArgs& args) {
  if (const Refusal refusal = gemm.can_run(desc, context)) {
    return make_error(ErrorCode::kUnsupported, "a linear of m={} n={} k={} {}->{} cannot run: {}",
                      desc.m, desc.n, desc.k, dtype_name(desc.in_dtype), dtype_name(desc.out_dtype),
                      refusal);
  }
  return gemm.run(context, desc, args);
}

// Output columns dequantized at a time.
int64_t dequant_columns(const LinearWeights& weights, const LinearCall& call) {
  const int64_t columns =
      kDequantBytes / (weights.k * 2 * columns_per_output(call.epilogue)) / 64 * 64;
  return std::min(epilogue_columns(call.epilogue, weights.n), std::max<int64_t>(64, columns));
}

Status dequantize_rows(const Context& context, const int8_t* q, const float* scale, int64_t rows,
                       int64_t cols, BFloat16* out) {
  const FloatRowKernels& kernels = select_float_row_kernels(context);
  INTAGLIO_TRY(parallel_tasks(context, rows, 16, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      kernels.dequantize(q + row * cols, scale[row], cols,
                         reinterpret_cast<uint16_t*>(out + row * cols));
    }
  }));
  return {};
}

// Scratch of the largest of the products that a loop in steps over `total` makes: a full step, or
// the rest.
template <typename DescOf>
size_t product_bytes(const Context& context, const LinearWeights& weights, int64_t total,
                     int64_t step, DescOf&& desc_of) {
  const auto bytes_of = [&](int64_t size) {
    return size == 0 ? 0 : weights.float_gemm->scratch_bytes(desc_of(size), context.threads);
  };
  const size_t of_step = total >= step ? bytes_of(step) : 0;
  return scratch_size(std::max(of_step, bytes_of(total % step)));
}

}  // namespace

Status choose_float(const Context& context, const LinearDesc& desc, LinearWeights& weights) {
  weights.input = weights.kind == LinearKind::kF32 ? DType::kF32 : DType::kBF16;
  return choose_products(context, desc, weights);
}

size_t float_scratch_bytes(const Context& context, const LinearWeights& weights,
                           const LinearCall& call) {
  const int64_t m = call.x.rows;
  const bool pass = needs_pass(call.epilogue);
  const int64_t step = pass ? kEpilogueRows : m;
  return (pass ? arena_bytes<float>(std::min(m, step) * weights.n) : 0) +
         product_bytes(context, weights, m, step,
                       [&](int64_t rows) { return float_desc(weights, call, rows, weights.n); });
}

Status run_float(const Context& context, const LinearWeights& weights, const LinearCall& call) {
  const Activation& x = call.x;
  const auto* bias = weights.bias.as<float>();
  const void* w = weights.data();
  if (!needs_pass(call.epilogue)) {
    return run_float_gemm(
        context, *weights.float_gemm, float_desc(weights, call, x.rows, weights.n),
        {.a = x.data, .lda = x.cols, .w = w, .bias = bias, .out = call.out, .ldo = call.ldo});
  }
  const Arena::Scope scope(*context.scratch);
  INTAGLIO_ASSIGN(float* const product,
                  context.scratch->take<float>(std::min(x.rows, kEpilogueRows) * weights.n));
  for (int64_t row = 0; row < x.rows; row += kEpilogueRows) {
    const int64_t rows = std::min(kEpilogueRows, x.rows - row);
    const void* a = advance(x.data, x.dtype, row * x.cols);
    INTAGLIO_TRY(run_float_gemm(
        context, *weights.float_gemm, float_desc(weights, call, rows, weights.n),
        {.a = a, .lda = x.cols, .w = w, .bias = bias, .out = product, .ldo = weights.n}));
    INTAGLIO_TRY(epilogue_rows(context, {.epilogue = call.epilogue,
                                         .product = product,
                                         .out = advance(call.out, call.out_dtype, row * call.ldo),
                                         .out_dtype = call.out_dtype,
                                         .rows = rows,
                                         .cols = epilogue_columns(call.epilogue, weights.n),
                                         .ldo = call.ldo}));
  }
  return {};
}

Status choose_dequant_s8(const Context& context, const LinearDesc& desc, LinearWeights& weights) {
  weights.input = DType::kI8;
  return choose_products(context, desc, weights);
}

size_t dequant_s8_scratch_bytes(const Context& context, const LinearWeights& weights,
                                const LinearCall& call) {
  const int64_t m = call.x.rows;
  const int64_t step = dequant_columns(weights, call);
  const int64_t parts = columns_per_output(call.epilogue);
  return arena_bytes<BFloat16>(m * weights.k) + arena_bytes<BFloat16>(step * parts * weights.k) +
         arena_bytes<float>(needs_pass(call.epilogue) ? m * parts * step : 0) +
         arena_bytes<float>(step * parts) +  // a bias, whether there is one or not
         product_bytes(context, weights, epilogue_columns(call.epilogue, weights.n), step,
                       [&](int64_t n) { return float_desc(weights, call, m, n * parts); });
}

Status run_dequant_s8(const Context& context, const LinearWeights& weights,
                      const LinearCall& call) {
  const Activation& x = call.x;
  const bool pass = needs_pass(call.epilogue);
  const int64_t parts = columns_per_output(call.epilogue);
  const int64_t out_cols = epilogue_columns(call.epilogue, weights.n);
  const int64_t k = weights.k;
  const int64_t step = dequant_columns(weights, call);
  const auto* q = static_cast<const int8_t*>(weights.data());
  const Arena::Scope scope(*context.scratch);
  INTAGLIO_ASSIGN(BFloat16* const a, context.scratch->take<BFloat16>(x.rows * k));
  INTAGLIO_ASSIGN(BFloat16* const w, context.scratch->take<BFloat16>(step * parts * k));
  INTAGLIO_ASSIGN(float* const product,
                  context.scratch->take<float>(pass ? x.rows * parts * step : 0));
  INTAGLIO_ASSIGN(float* const bias, context.scratch->take<float>(step * parts));
  INTAGLIO_TRY(dequantize_rows(context, x.as<int8_t>(), x.scale_row, x.rows, k, a));
  for (int64_t column = 0; column < out_cols; column += step) {
    const int64_t columns = std::min(step, out_cols - column);
    for (int64_t part = 0; part < parts; ++part) {
      const int64_t first = column + part * out_cols;
      INTAGLIO_TRY(dequantize_rows(context, q + first * k, weights.scales.as<float>() + first,
                                   columns, k, w + part * columns * k));
      if (weights.bias.size() > 0)
        std::copy_n(weights.bias.as<float>() + first, columns, bias + part * columns);
    }
    void* const target = advance(call.out, call.out_dtype, column);
    INTAGLIO_TRY(run_float_gemm(context, *weights.float_gemm,
                                float_desc(weights, call, x.rows, columns * parts),
                                {.a = a,
                                 .lda = k,
                                 .w = w,
                                 .bias = weights.bias.size() == 0 ? nullptr : bias,
                                 .out = pass ? product : target,
                                 .ldo = pass ? columns * parts : call.ldo}));
    if (pass) {
      INTAGLIO_TRY(epilogue_rows(context, {.epilogue = call.epilogue,
                                           .product = product,
                                           .out = target,
                                           .out_dtype = call.out_dtype,
                                           .rows = x.rows,
                                           .cols = columns,
                                           .ldo = call.ldo}));
    }
  }
  return {};
}

}  // namespace intaglio::cpu
