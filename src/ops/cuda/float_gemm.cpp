#include "ops/cuda/float_gemm.h"

#include "core/cuda/device.h"
#include "ops/cuda/conv2d.h"
#include "ops/cuda/kernel_trace.h"
#include "ops/cuda/launch/conv2d.h"
#include "ops/cuda/launch/narrow_gemm.h"
#include "ops/cuda/launch/plain_gemm.h"
#include "ops/cuda/lt_products.h"
#include "ops/cuda/stream.h"

namespace intaglio::cuda::op {
namespace {

constexpr int64_t kMostSize = int64_t{1} << 31;  // of m, n and k in the kernels' parameters

LtKind lt_kind(const FloatGemmDesc& desc) {
  if (desc.in_dtype == DType::kF32) return LtKind::kF32;
  return desc.out_dtype == DType::kF32 ? LtKind::kBF16ToF32 : LtKind::kBF16;
}

Refusal refuse_sizes(const FloatGemmDesc& desc, const Context& context) {
  if (const Refusal refusal = refuse_device(DeviceKind::kGpu, context)) return refusal;
  if (desc.m >= kMostSize || desc.n >= kMostSize || desc.k >= kMostSize) return "too large";
  return nullptr;
}

bool is_dense(const FloatGemmDesc& desc, const FloatGemmArgs& args) {
  return args.lda == desc.k && args.ldo == desc.n;
}

// What a faster product cannot do after all, for its operands or since the library has none for the
// shape: slower, never silent, and no hole.
Status run_plain_instead(const Context& context, const FloatGemmDesc& desc,
                         const FloatGemmArgs& args, std::string_view reason) {
  trace_kernel([&] {
    return fmt::format("float_gemm m={} n={} k={}: plain_gemm instead; {}", desc.m, desc.n, desc.k,
                       reason);
  });
  return run_plain_gemm(context, desc, args);
}

PlainGemmParams as_plain(const FloatGemmDesc& desc, const FloatGemmArgs& args) {
  return {.a = args.a,
          .w = args.w,
          .bias = args.bias,
          .out = args.out,
          .lda = args.lda,
          .ldw = desc.k,
          .ldo = args.ldo,
          .m = desc.m,
          .n = desc.n,
          .k = desc.k,
          .type = desc.in_dtype,
          .out_type = desc.out_dtype};
}

// A linear as a convolution of kernel 1 over a picture of one column.
Conv2dParams as_conv(const FloatGemmDesc& desc, const FloatGemmArgs& args) {
  return {.x = args.a,
          .w = args.w,
          .bias = args.bias,
          .add = nullptr,
          .y = args.out,
          .height = static_cast<int32_t>(desc.m),
          .width = 1,
          .in_channels = static_cast<int32_t>(desc.k),
          .out_channels = static_cast<int32_t>(desc.n),
          .kernel = 1,
          .upsample = 0,
          .type = desc.in_dtype == DType::kF32 ? Conv2dType::kF32 : Conv2dType::kBF16,
          .f32_out = desc.out_dtype == DType::kF32 ? 1 : 0};
}

}  // namespace

Refusal narrow_gemm_refusal(const FloatGemmDesc& desc, const Context& context) {
  if (const Refusal refusal = refuse_sizes(desc, context)) return refusal;
  if (desc.in_dtype != DType::kBF16) return "operands are not BF16";
  if (!is_narrow(desc.n)) return "n is not 16, 32, 48 or 64";
  if (desc.has_bias) return "it adds no bias";
  if (context.gpu->compute_capability < 80) return "needs compute capability 8.0";
  return desc.k % 8 == 0 ? nullptr : "k is no multiple of 8";
}

Status run_narrow_gemm(const Context& context, const FloatGemmDesc& desc,
                       const FloatGemmArgs& args) {
  const PlainGemmParams p = as_plain(desc, args);
  if (const char* reason = cuda::narrow_gemm_refusal(p))
    return run_plain_instead(context, desc, args, reason);
  return device_status(narrow_gemm(p, stream_of(context)), "a matrix product");
}

Refusal cublaslt_gemm_refusal(const FloatGemmDesc& desc, const Context& context) {
  if (const Refusal refusal = refuse_sizes(desc, context)) return refusal;
  if (desc.in_dtype == DType::kF32 && desc.out_dtype != DType::kF32)
    return "no F32 product with a BF16 result";
  if (desc.has_bias && desc.out_dtype != DType::kF32) return "a bias needs an F32 result";
  if (desc.in_dtype == DType::kBF16 && context.gpu->compute_capability < 80)
    return "bf16 needs compute capability 8.0";
  static const bool found = [] {
    std::string error;
    const bool usable = !cublaslt_version(error).empty();
    if (!usable)
      log(LogLevel::kWarning, "float products run on the engine's own kernels: {}", error);
    return usable;
  }();
  return found ? nullptr : "cuBLASLt was not found";
}

size_t cublaslt_gemm_scratch_bytes(const FloatGemmDesc&, int) { return lt_product_scratch_bytes(); }

Status run_cublaslt_gemm(const Context& context, const FloatGemmDesc& desc,
                         const FloatGemmArgs& args) {
  if (desc.m == 0) return {};
  // A linear chooses its product before it knows the type of each call's output.
  if (const Refusal refusal = cublaslt_gemm_refusal(desc, context))
    return run_plain_instead(context, desc, args, refusal);
  if (!is_dense(desc, args)) return run_plain_instead(context, desc, args, "rows are not dense");
  const LtShape shape{static_cast<int>(desc.m), static_cast<int>(desc.n), static_cast<int>(desc.k)};
  if (const Status has = prepare_lt_product(context, lt_kind(desc), shape, {}); !has)
    return run_plain_instead(context, desc, args, has.error().message);
  // The library names a product and refuses to run it where there is a bias of one column.
  const Status ran = run_lt_product(context, lt_kind(desc), shape,
                                    {.a = args.a, .w = args.w, .out = args.out, .bias = args.bias});
  if (!ran && ran.error().code == ErrorCode::kUnsupported)
    return run_plain_instead(context, desc, args, ran.error().message);
  return ran;
}

Refusal sm80_conv2d_gemm_refusal(const FloatGemmDesc& desc, const Context& context) {
  if (const Refusal refusal = refuse_sizes(desc, context)) return refusal;
  if (desc.in_dtype != DType::kBF16) return "operands are not BF16";
  if (context.gpu->compute_capability < 80) return "needs compute capability 8.0";
  return desc.k % 8 == 0 ? nullptr : "k is no multiple of 8";
}

Status run_sm80_conv2d_gemm(const Context& context, const FloatGemmDesc& desc,
                            const FloatGemmArgs& args) {
  if (desc.m == 0) return {};
  if (!is_dense(desc, args)) return run_plain_instead(context, desc, args, "rows are not dense");
  const Conv2dParams p = as_conv(desc, args);
  if (const char* reason = cuda::sm80_conv2d_refusal(p))
    return run_plain_instead(context, desc, args, reason);
  trace_kernel([&] {
    return fmt::format("float_gemm m={} n={} k={} on cuda:{}: sm80_conv2d {}", desc.m, desc.n,
                       desc.k, context.gpu->ordinal, sm80_conv2d_tile(p));
  });
  return device_status(sm80_conv2d(p, stream_of(context)), "a matrix product");
}

Refusal plain_gemm_refusal(const FloatGemmDesc&, const Context& context) {
  return refuse_device(DeviceKind::kGpu, context);
}

Status run_plain_gemm(const Context& context, const FloatGemmDesc& desc,
                      const FloatGemmArgs& args) {
  if (desc.m == 0) return {};
  // Larger tiles, where rows are whole pieces of 16 bytes.
  const bool pieces = desc.k * static_cast<int64_t>(dtype_size(desc.in_dtype)) % 16 == 0;
  const bool same_types = desc.in_dtype == DType::kBF16 || desc.out_dtype == DType::kF32;
  if (pieces && same_types && is_dense(desc, args) && refuse_sizes(desc, context) == nullptr) {
    const Conv2dParams conv = as_conv(desc, args);
    if (cuda::plain_conv2d_refusal(conv) == nullptr)
      return device_status(plain_conv2d(conv, stream_of(context)), "a matrix product");
  }
  const PlainGemmParams p = as_plain(desc, args);
  if (const char* reason = cuda::plain_gemm_refusal(p))
    return make_error(ErrorCode::kUnsupported, "a matrix product of {}x{}x{}: {}", desc.m, desc.n,
                      desc.k, reason);
  return device_status(plain_gemm(p, stream_of(context)), "a matrix product");
}

}  // namespace intaglio::cuda::op
