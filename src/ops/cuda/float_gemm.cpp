#include "ops/cuda/float_gemm.h"

#include "core/cuda/device.h"
#include "ops/cuda/device_types.h"
#include "ops/cuda/launch/conv2d.h"
#include "ops/cuda/lt_products.h"

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

Status check_dense(const FloatGemmDesc& desc, const FloatGemmArgs& args) {
  if (args.lda == desc.k && args.ldo == desc.n) return {};
  return make_error(ErrorCode::kUnsupported,
                    "float_gemm on a GPU: rows of {} and {} elements, expected {} and {}", args.lda,
                    args.ldo, desc.k, desc.n);
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
  INTAGLIO_TRY(check_dense(desc, args));
  if (desc.m == 0) return {};
  return run_lt_product(
      context, lt_kind(desc),
      {static_cast<int>(desc.m), static_cast<int>(desc.n), static_cast<int>(desc.k)},
      {.a = args.a, .w = args.w, .out = args.out, .bias = args.bias});
}

Refusal sm80_bf16_gemm_refusal(const FloatGemmDesc& desc, const Context& context) {
  if (const Refusal refusal = refuse_sizes(desc, context)) return refusal;
  if (desc.in_dtype != DType::kBF16) return "operands are not BF16";
  if (context.gpu->compute_capability < 80) return "needs compute capability 8.0";
  return desc.k % 8 == 0 ? nullptr : "k is no multiple of 8";
}

Status run_sm80_bf16_gemm(const Context& context, const FloatGemmDesc& desc,
                          const FloatGemmArgs& args) {
  INTAGLIO_TRY(check_dense(desc, args));
  if (desc.m == 0) return {};
  const Conv2dParams p = as_conv(desc, args);
  if (const char* reason = cuda::sm80_conv2d_refusal(p))
    return make_error(ErrorCode::kUnsupported, "sm80_bf16_gemm {}x{}x{}: {}", desc.m, desc.n,
                      desc.k, reason);
  return device_status(sm80_conv2d(p, stream_of(context)), "sm80_bf16_gemm");
}

Refusal plain_gemm_refusal(const FloatGemmDesc& desc, const Context& context) {
  if (const Refusal refusal = refuse_sizes(desc, context)) return refusal;
  if (desc.in_dtype == DType::kF32 && desc.out_dtype != DType::kF32)
    return "no F32 product with a BF16 result";
  return desc.k * static_cast<int64_t>(dtype_size(desc.in_dtype)) % 16 == 0
             ? nullptr
             : "rows are no multiples of 16 bytes";
}

Status run_plain_gemm(const Context& context, const FloatGemmDesc& desc,
                      const FloatGemmArgs& args) {
  INTAGLIO_TRY(check_dense(desc, args));
  if (desc.m == 0) return {};
  const Conv2dParams p = as_conv(desc, args);
  if (const char* reason = cuda::plain_conv2d_refusal(p))
    return make_error(ErrorCode::kUnsupported, "plain_gemm {}x{}x{}: {}", desc.m, desc.n, desc.k,
                      reason);
  return device_status(plain_conv2d(p, stream_of(context)), "plain_gemm");
}

}  // namespace intaglio::cuda::op
