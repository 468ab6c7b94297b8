#include "ops/linear.h"

#include <algorithm>

#include "core/parallel_tasks.h"
#include "ops/cpu/float_row_driver.h"
#include "ops/elementwise.h"
#if defined(INTAGLIO_HAS_CUDA)
#include "ops/cuda/linear.h"
#endif

namespace intaglio {
namespace {

// Rows of a float product with an epilogue at a time: bounds its float intermediate.
constexpr int64_t kEpilogueRows = 512;
constexpr int64_t kDequantBytes = int64_t{8} << 20;  // bf16 weights dequantized at a time

size_t scratch_size(size_t bytes) { return align_up(bytes, kCacheLine); }

FloatGemmDesc float_desc(const LinearWeights& weights, int64_t m, int64_t n, DType out_dtype) {
  return {.m = m,
          .n = n,
          .k = weights.k,
          .in_dtype = weights.kind == LinearKind::kF32 ? DType::kF32 : DType::kBF16,
          .out_dtype = needs_pass(weights.epilogue) ? DType::kF32 : out_dtype,
          .has_bias = weights.bias.size() > 0};
}

S8GemmDesc s8_desc(const LinearWeights& weights, int64_t m, DType out_dtype) {
  return {
      .m = m, .n = weights.n, .k = weights.k, .epilogue = weights.epilogue, .out_dtype = out_dtype};
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

Status run_float(const Context& context, const LinearWeights& weights, const Activation& x,
                 void* out, DType out_dtype, int64_t ldo) {
  const auto* bias = weights.bias.as<float>();
  const void* w = weights.data();
  if (!needs_pass(weights.epilogue)) {
    return run_float_gemm(
        context, *weights.float_gemm, float_desc(weights, x.rows, weights.n, out_dtype),
        {.a = x.data, .lda = x.cols, .w = w, .bias = bias, .out = out, .ldo = ldo});
  }
  const Arena::Scope scope(*context.scratch);
  INTAGLIO_ASSIGN(float* const product,
                  context.scratch->take<float>(std::min(x.rows, kEpilogueRows) * weights.n));
  for (int64_t row = 0; row < x.rows; row += kEpilogueRows) {
    const int64_t rows = std::min(kEpilogueRows, x.rows - row);
    const void* a = advance(x.data, x.dtype, row * x.cols);
    INTAGLIO_TRY(run_float_gemm(
        context, *weights.float_gemm, float_desc(weights, rows, weights.n, out_dtype),
        {.a = a, .lda = x.cols, .w = w, .bias = bias, .out = product, .ldo = weights.n}));
    INTAGLIO_TRY(epilogue_rows(context, {.epilogue = weights.epilogue,
                                         .product = product,
                                         .out = advance(out, out_dtype, row * ldo),
                                         .out_dtype = out_dtype,
                                         .rows = rows,
                                         .cols = weights.out_cols(),
                                         .ldo = ldo}));
  }
  return {};
}

// Output columns dequantized at a time.
int64_t dequant_columns(const LinearWeights& weights) {
  const int64_t columns =
      kDequantBytes / (weights.k * 2 * columns_per_output(weights.epilogue)) / 64 * 64;
  return std::min(weights.out_cols(), std::max<int64_t>(64, columns));
}

Status dequantize_rows(const Context& context, const int8_t* q, const float* scale, int64_t rows,
                       int64_t cols, BFloat16* out) {
  const cpu::FloatRowKernels& kernels = cpu::select_float_row_kernels(context);
  INTAGLIO_TRY(parallel_tasks(context, rows, 16, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      kernels.dequantize(q + row * cols, scale[row], cols,
                         reinterpret_cast<uint16_t*>(out + row * cols));
    }
  }));
  return {};
}

Status run_dequant(const Context& context, const LinearWeights& weights, const Activation& x,
                   void* out, DType out_dtype, int64_t ldo) {
  const bool pass = needs_pass(weights.epilogue);
  const int64_t parts = columns_per_output(weights.epilogue);
  const int64_t k = weights.k;
  const int64_t step = dequant_columns(weights);
  const auto* q = static_cast<const int8_t*>(weights.data());
  const Arena::Scope scope(*context.scratch);
  INTAGLIO_ASSIGN(BFloat16* const a, context.scratch->take<BFloat16>(x.rows * k));
  INTAGLIO_ASSIGN(BFloat16* const w, context.scratch->take<BFloat16>(step * parts * k));
  INTAGLIO_ASSIGN(float* const product,
                  context.scratch->take<float>(pass ? x.rows * parts * step : 0));
  INTAGLIO_ASSIGN(float* const bias, context.scratch->take<float>(step * parts));
  INTAGLIO_TRY(dequantize_rows(context, x.as<int8_t>(), x.scale_row, x.rows, k, a));
  for (int64_t column = 0; column < weights.out_cols(); column += step) {
    const int64_t columns = std::min(step, weights.out_cols() - column);
    for (int64_t part = 0; part < parts; ++part) {
      const int64_t first = column + part * weights.out_cols();
      INTAGLIO_TRY(dequantize_rows(context, q + first * k, weights.scale_col.as<float>() + first,
                                   columns, k, w + part * columns * k));
      if (weights.bias.size() > 0)
        std::copy_n(weights.bias.as<float>() + first, columns, bias + part * columns);
    }
    void* const target = advance(out, out_dtype, column);
    INTAGLIO_TRY(run_float_gemm(context, *weights.float_gemm,
                                float_desc(weights, x.rows, columns * parts, out_dtype),
                                {.a = a,
                                 .lda = k,
                                 .w = w,
                                 .bias = weights.bias.size() == 0 ? nullptr : bias,
                                 .out = pass ? product : target,
                                 .ldo = pass ? columns * parts : ldo}));
    if (pass) {
      INTAGLIO_TRY(epilogue_rows(context, {.epilogue = weights.epilogue,
                                           .product = product,
                                           .out = target,
                                           .out_dtype = out_dtype,
                                           .rows = x.rows,
                                           .cols = columns,
                                           .ldo = ldo}));
    }
  }
  return {};
}

Status check_call(const Context& context, const LinearWeights& weights, const Activation& x,
                  DType out_dtype, int64_t ldo) {
  if (x.dtype != weights.input_dtype() || x.cols != weights.k) {
    return make_error(ErrorCode::kShapeMismatch,
                      "linear: the input is {} [{}, {}], the weights take {} with {} columns",
                      dtype_name(x.dtype), x.rows, x.cols, dtype_name(weights.input_dtype()),
                      weights.k);
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

}  // namespace

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

size_t linear_scratch_bytes(const Context& context, const LinearWeights& weights, int64_t m,
                            DType out_dtype) {
  if (m <= 0) return 0;
  if (weights.kind == LinearKind::kS8)
    return scratch_size(weights.s8_gemm->scratch_bytes(s8_desc(weights, m, out_dtype), context));
#if defined(INTAGLIO_HAS_CUDA)
  if (context.gpu != nullptr) return cuda::op::linear_scratch_bytes(context, weights, m, out_dtype);
#endif
  const int threads = context.threads;
  const bool pass = needs_pass(weights.epilogue);
  // The largest of the products that a loop in steps over `total` makes: a full step, or the rest.
  const auto gemm_bytes = [&](int64_t total, int64_t step, auto&& desc_of) {
    const int64_t rest = total % step;
    size_t bytes = total >= step ? weights.float_gemm->scratch_bytes(desc_of(step), threads) : 0;
    if (rest > 0)
      bytes = std::max(bytes, weights.float_gemm->scratch_bytes(desc_of(rest), threads));
    return scratch_size(bytes);
  };
  if (weights.kind == LinearKind::kS8Dequant) {
    const int64_t step = dequant_columns(weights);
    const int64_t parts = columns_per_output(weights.epilogue);
    return arena_bytes<BFloat16>(m * weights.k) + arena_bytes<BFloat16>(step * parts * weights.k) +
           arena_bytes<float>(pass ? m * parts * step : 0) +
           arena_bytes<float>(step * parts) +  // a bias, which a plan does not know of
           gemm_bytes(weights.out_cols(), step,
                      [&](int64_t n) { return float_desc(weights, m, n * parts, out_dtype); });
  }
  const int64_t step = pass ? kEpilogueRows : m;
  return (pass ? arena_bytes<float>(std::min(m, step) * weights.n) : 0) +
         gemm_bytes(m, step,
                    [&](int64_t rows) { return float_desc(weights, rows, weights.n, out_dtype); });
}

Status linear(const Context& context, const LinearWeights& weights, const Activation& x, void* out,
              DType out_dtype, int64_t ldo) {
  INTAGLIO_TRY(check_call(context, weights, x, out_dtype, ldo));
  if (x.rows <= 0) return {};
  if (weights.kind == LinearKind::kS8) {
    return weights.s8_gemm->run(context, s8_desc(weights, x.rows, out_dtype),
                                {.a = x.as<int8_t>(),
                                 .lda = x.cols,
                                 .a_scale_row = x.scale_row,
                                 .w_packed = weights.data(),
                                 .w_scale_col = weights.scale_col.as<float>(),
                                 .bias = weights.bias.as<float>(),
                                 .out = out,
                                 .ldo = ldo});
  }
#if defined(INTAGLIO_HAS_CUDA)
  if (context.gpu != nullptr) return cuda::op::linear(context, weights, x, out, out_dtype, ldo);
#endif
  if (weights.kind == LinearKind::kS8Dequant)
    return run_dequant(context, weights, x, out, out_dtype, ldo);
  return run_float(context, weights, x, out, out_dtype, ldo);
}

}  // namespace intaglio
