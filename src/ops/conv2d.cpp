#include "ops/conv2d.h"

#include <vector>

#include "core/memory.h"
#include "ops/cpu/bf16_amx_conv2d.h"
#include "ops/cpu/conv2d_driver.h"
#include "ops/ref/conv2d.h"
#if defined(INTAGLIO_HAS_CUDA)
#include "ops/cuda/conv2d.h"
#endif
namespace intaglio {
namespace {

Refusal check(const Conv2dDesc& d) {
  if (d.height < 1 || d.width < 1 || d.in_channels < 1 || d.out_channels < 1)
    return "sizes must be positive";
  if (d.kernel != 1 && d.kernel != 3) return "the kernel must be 1 or 3";
  if (d.dtype != DType::kF32 && d.dtype != DType::kBF16) return "pictures must be F32 or BF16";
  if (d.upsample && d.kernel != 3) return "only a kernel of 3 reads through an upsampling";
  if (d.upsample && (d.height % 2 != 0 || d.width % 2 != 0))
    return "an upsampled size must be even";
  return nullptr;
}

size_t no_scratch(const Conv2dDesc&, int) { return 0; }
Refusal can_run_reference(const Conv2dDesc& desc, const Context&) { return check(desc); }

#if defined(INTAGLIO_X86)
Refusal can_run_amx(const Conv2dDesc& desc, const Context& context) {
  if (desc.dtype != DType::kBF16) return "pictures are not BF16";
  if (!context.cpu.amx_bf16) return "needs AMX-BF16";
  return check(desc);
}

size_t amx_scratch_bytes(const Conv2dDesc& desc, int threads) {
  return bf16_amx_conv2d_scratch_bytes(desc, threads, {});
}

Status run_amx(const Context& context, const Conv2dDesc& desc, const Conv2dWeights& weights,
               const void* x, const void* add, void* y) {
  return run_bf16_amx_conv2d(context, desc, weights, {x, add, y}, {});
}

template <const cpu::FloatGemmKernels* kKernels>
Expected<AlignedBuffer> pack_kernel(const Context& context, const Conv2dDesc& desc,
                                    const float* w) {
  return cpu::pack_conv2d(*kKernels, context, desc, w);
}

template <const cpu::FloatGemmKernels* kKernels>
size_t kernel_scratch_bytes(const Conv2dDesc& desc, int threads) {
  return cpu::conv2d_scratch_bytes(*kKernels, desc, threads);
}

template <const cpu::FloatGemmKernels* kKernels>
Status run_kernel(const Context& context, const Conv2dDesc& desc, const Conv2dWeights& weights,
                  const void* x, const void* add, void* y) {
  return cpu::run_conv2d(*kKernels, context, desc, weights, x, add, y);
}

Refusal can_run_avx512bf16(const Conv2dDesc& desc, const Context& context) {
  if (desc.dtype != DType::kBF16) return "pictures are not BF16";
  if (!context.cpu.avx512_bf16) return "needs AVX-512 BF16";
  if (!context.cpu.fast_bf16_dot) return "slower here than AVX-512 in fp32";
  return check(desc);
}

Refusal can_run_avx512(const Conv2dDesc& desc, const Context& context) {
  if (context.cpu.isa < CpuIsa::kAvx512Vnni) return "needs AVX-512";
  return check(desc);
}

Refusal can_run_avx2(const Conv2dDesc& desc, const Context& context) {
  if (context.cpu.isa < CpuIsa::kAvx2) return "needs AVX2 and FMA";
  return check(desc);
}
#endif

std::string describe(const Conv2dDesc& d) {
  return fmt::format("{}x{} {}->{} kernel {} {}{}", d.width, d.height, d.in_channels,
                     d.out_channels, d.kernel, dtype_name(d.dtype), d.upsample ? " upsampled" : "");
}

}  // namespace

std::span<const Conv2dImplementation> conv2d_implementations() {
  static constexpr Conv2dImplementation kImplementations[] = {
#if defined(INTAGLIO_HAS_CUDA)
    {"sm80_conv2d", cuda::op::sm80_conv2d_refusal, cuda::op::pack_conv2d, no_scratch,
     cuda::op::run_sm80_conv2d, DeviceKind::kGpu},
    {"plain_conv2d", cuda::op::plain_conv2d_refusal, cuda::op::pack_conv2d, no_scratch,
     cuda::op::run_plain_conv2d, DeviceKind::kGpu},
#endif
#if defined(INTAGLIO_X86)
    {"amx_bf16_conv2d", can_run_amx, pack_bf16_amx_conv2d, amx_scratch_bytes, run_amx},
    {"avx512bf16_conv2d", can_run_avx512bf16, pack_kernel<&cpu::kAvx512Bf16Gemm>,
     kernel_scratch_bytes<&cpu::kAvx512Bf16Gemm>, run_kernel<&cpu::kAvx512Bf16Gemm>},
    {"avx512_f32_conv2d", can_run_avx512, pack_kernel<&cpu::kAvx512FloatGemm>,
     kernel_scratch_bytes<&cpu::kAvx512FloatGemm>, run_kernel<&cpu::kAvx512FloatGemm>},
    {"avx2_f32_conv2d", can_run_avx2, pack_kernel<&cpu::kAvx2FloatGemm>,
     kernel_scratch_bytes<&cpu::kAvx2FloatGemm>, run_kernel<&cpu::kAvx2FloatGemm>},
#endif
    {"ref_conv2d", can_run_reference, ref::pack_conv2d, no_scratch, ref::conv2d},
  };
  return kImplementations;
}

Expected<const Conv2dImplementation*> choose_conv2d(const Conv2dDesc& desc,
                                                    const Context& context) {
  return choose(OpName{"conv2d", "a convolution"}, conv2d_implementations(), desc, context,
                describe);
}

Expected<Conv2dWeights> make_conv2d(const Context& context, DType dtype, TensorView w,
                                    TensorView bias, bool upsample) {
  INTAGLIO_TRY(check_cancelled(context));  // loading stops between tensors
  const Shape& s = w.shape;
  if (w.data == nullptr || !is_float(w.dtype) || s.rank != 4 || s[2] != s[3] ||
      (s[2] != 1 && s[2] != 3)) {
    return make_error(
        ErrorCode::kShapeMismatch,
        "make_conv2d: the weight is {} {}, expected a float [out, in, 1 or 3, the same]",
        dtype_name(w.dtype), to_string(s));
  }
  if (bias.data == nullptr || !is_float(bias.dtype) || bias.shape != Shape{s[0]}) {
    return make_error(ErrorCode::kShapeMismatch,
                      "make_conv2d: the bias is {} {}, expected a float [{}]",
                      dtype_name(bias.dtype), to_string(bias.shape), s[0]);
  }
  const Conv2dDesc desc{.height = 64,
                        .width = 64,
                        .in_channels = s[1],
                        .out_channels = s[0],
                        .kernel = s[2],
                        .upsample = upsample,
                        .dtype = dtype};
  Conv2dWeights weights{.in_channels = s[1],
                        .out_channels = s[0],
                        .kernel = s[2],
                        .upsample = upsample,
                        .dtype = dtype,
                        .packed = {},
                        .bias = {}};
  INTAGLIO_ASSIGN(weights.implementation, choose_conv2d(desc, context));
  INTAGLIO_ASSIGN(const AlignedBuffer floats,
                  AlignedBuffer::allocate(static_cast<size_t>(s.count()) * sizeof(float)));
  convert_to_f32(w.data, w.dtype, floats.as<float>(), static_cast<size_t>(s.count()));
  INTAGLIO_ASSIGN(weights.packed, weights.implementation->pack(context, desc, floats.as<float>()));
  std::vector<float> bias_values(static_cast<size_t>(s[0]));
  convert_to_f32(bias.data, bias.dtype, bias_values.data(), bias_values.size());
  INTAGLIO_ASSIGN(weights.bias, upload(context, bias_values));
  return weights;
}

size_t conv2d_scratch_bytes(const Conv2dDesc& desc, const Conv2dWeights& weights, int threads) {
  return align_up(weights.implementation->scratch_bytes(desc, threads), kCacheLine);
}

Status conv2d(const Context& context, const Conv2dDesc& desc, const Conv2dWeights& weights,
              const void* x, const void* add, void* y) {
  if (desc.in_channels != weights.in_channels || desc.out_channels != weights.out_channels ||
      desc.kernel != weights.kernel || desc.upsample != weights.upsample ||
      desc.dtype != weights.dtype) {
    return make_error(ErrorCode::kShapeMismatch,
                      "conv2d: called for {}, the weights were made for {}->{} kernel {} {}{}",
                      describe(desc), weights.in_channels, weights.out_channels, weights.kernel,
                      dtype_name(weights.dtype), weights.upsample ? " upsampled" : "");
  }
  if (const Refusal refusal = weights.implementation->can_run(desc, context)) {
    return make_error(ErrorCode::kUnsupported, "a convolution of {} cannot run: {}", describe(desc),
                      refusal);
  }
  return weights.implementation->run(context, desc, weights, x, add, y);
}

}  // namespace intaglio
