#include "ops/float_gemm.h"

#include "ops/cpu/bf16_amx_gemm.h"
#include "ops/cpu/float_gemm_driver.h"
#include "ops/ref/float_gemm.h"
#if defined(INTAGLIO_HAS_CUDA)
#include "ops/cuda/float_gemm.h"
#endif
namespace intaglio {
namespace {

// What no implementation can serve.
Refusal check(const FloatGemmDesc& desc) {
  if (desc.m < 0 || desc.n < 1 || desc.k < 1) return "sizes must be positive";
  if (desc.in_dtype != DType::kF32 && desc.in_dtype != DType::kBF16)
    return "operands must be F32 or BF16";
  if (desc.out_dtype != DType::kF32 && desc.out_dtype != DType::kBF16)
    return "the result must be F32 or BF16";
  return nullptr;
}

size_t no_packing(const FloatGemmDesc&) { return 0; }
Status nothing_to_pack(const FloatGemmDesc&, const void*, void*) { return {}; }
[[maybe_unused]] size_t no_scratch(const FloatGemmDesc&, int) { return 0; }

Refusal can_run_reference(const FloatGemmDesc& desc, const Context&) { return check(desc); }

#if defined(INTAGLIO_X86)
Refusal can_run_amx(const FloatGemmDesc& desc, const Context& context) {
  if (desc.in_dtype != DType::kBF16) return "operands are not BF16";
  if (!context.cpu.amx_bf16) return "needs AMX-BF16";
  return check(desc);
}

// A few rows would not fill a tile.
size_t amx_scratch_bytes(const FloatGemmDesc& desc, int threads) {
  return desc.m <= cpu::kDotRows ? 0 : bf16_amx_scratch_bytes(desc, threads, AmxTuning{});
}

Status run_amx(const Context& context, const FloatGemmDesc& desc, const FloatGemmArgs& args) {
  if (desc.m > cpu::kDotRows) return bf16_amx_run(context, desc, args, {}, AmxTuning{});
  return cpu::run_float_gemm(cpu::kAvx512Bf16Gemm, context, desc, args);
}

template <const cpu::FloatGemmKernels* kKernels>
size_t kernel_scratch_bytes(const FloatGemmDesc& desc, int threads) {
  return cpu::float_gemm_scratch_bytes(*kKernels, desc, threads);
}

template <const cpu::FloatGemmKernels* kKernels>
Status run_kernel(const Context& context, const FloatGemmDesc& desc, const FloatGemmArgs& args) {
  return cpu::run_float_gemm(*kKernels, context, desc, args);
}

Refusal can_run_avx512bf16(const FloatGemmDesc& desc, const Context& context) {
  if (desc.in_dtype != DType::kBF16) return "operands are not BF16";
  if (!context.cpu.avx512_bf16) return "needs AVX-512 BF16";
  if (!context.cpu.fast_bf16_dot) return "slower here than AVX-512 in fp32";
  return check(desc);
}

Refusal can_run_avx512(const FloatGemmDesc& desc, const Context& context) {
  if (context.cpu.isa < CpuIsa::kAvx512Vnni) return "needs AVX-512";
  return check(desc);
}

Refusal can_run_avx2(const FloatGemmDesc& desc, const Context& context) {
  if (context.cpu.isa < CpuIsa::kAvx2) return "needs AVX2 and FMA";
  return check(desc);
}
#endif

}  // namespace

// All of them read the weights as they lie: the vector kernels pack each panel as they go, 2 % of
// the time at 384 rows.
std::span<const FloatGemmImplementation> float_gemm_implementations() {
  static constexpr FloatGemmImplementation kImplementations[] = {
#if defined(INTAGLIO_HAS_CUDA)
    {"narrow_gemm", cuda::op::narrow_gemm_refusal, no_packing, nothing_to_pack, no_scratch,
     cuda::op::run_narrow_gemm, DeviceKind::kGpu},
    {"cublaslt_gemm", cuda::op::cublaslt_gemm_refusal, no_packing, nothing_to_pack,
     cuda::op::cublaslt_gemm_scratch_bytes, cuda::op::run_cublaslt_gemm, DeviceKind::kGpu},
    {"sm80_conv2d_gemm", cuda::op::sm80_conv2d_gemm_refusal, no_packing, nothing_to_pack,
     no_scratch, cuda::op::run_sm80_conv2d_gemm, DeviceKind::kGpu},
    {"plain_gemm", cuda::op::plain_gemm_refusal, no_packing, nothing_to_pack, no_scratch,
     cuda::op::run_plain_gemm, DeviceKind::kGpu},
#endif
#if defined(INTAGLIO_X86)
    {"amx_bf16_gemm", can_run_amx, no_packing, nothing_to_pack, amx_scratch_bytes, run_amx},
    {"avx512bf16_gemm", can_run_avx512bf16, no_packing, nothing_to_pack,
     kernel_scratch_bytes<&cpu::kAvx512Bf16Gemm>, run_kernel<&cpu::kAvx512Bf16Gemm>},
    {"avx512_f32_gemm", can_run_avx512, no_packing, nothing_to_pack,
     kernel_scratch_bytes<&cpu::kAvx512FloatGemm>, run_kernel<&cpu::kAvx512FloatGemm>},
    {"avx2_f32_gemm", can_run_avx2, no_packing, nothing_to_pack,
     kernel_scratch_bytes<&cpu::kAvx2FloatGemm>, run_kernel<&cpu::kAvx2FloatGemm>},
#endif
    {"ref_float_gemm", can_run_reference, no_packing, nothing_to_pack, no_scratch, ref::float_gemm},
  };
  return kImplementations;
}

Expected<const FloatGemmImplementation*> choose_float_gemm(const FloatGemmDesc& desc,
                                                           const Context& context) {
  return choose(OpName{"float_gemm", "a matrix product"}, float_gemm_implementations(), desc,
                context, [](const FloatGemmDesc& d) {
                  return fmt::format("m={} n={} k={} {}->{}{}", d.m, d.n, d.k,
                                     dtype_name(d.in_dtype), dtype_name(d.out_dtype),
                                     d.has_bias ? " bias" : "");
                });
}

}  // namespace intaglio
