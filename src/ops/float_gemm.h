// Float matrix products y[m, n] = sum_k a[m, k] * w[n, k] (+ bias[n]), fp32 accumulation; weights
// [n, k] row-major.
#pragma once

#include <cstdint>
#include <span>

#include "core/context.h"
#include "core/dtype.h"
#include "core/registry.h"
#include "core/status.h"

namespace intaglio {

struct FloatGemmDesc {
  int64_t m = 0, n = 0, k = 0;
  DType in_dtype = DType::kF32;   // kF32 or kBF16, both operands
  DType out_dtype = DType::kF32;  // kF32 or kBF16
  bool has_bias = false;
};

struct FloatGemmArgs {
  const void* a = nullptr;  // [m, k], row stride lda elements
  int64_t lda = 0;
  const void* w = nullptr;      // [n, k] dense, or packed if the implementation packs
  const float* bias = nullptr;  // [n] or nullptr
  void* out = nullptr;          // [m, n], row stride ldo elements
  int64_t ldo = 0;
};

struct FloatGemmImplementation {
  // "narrow_gemm", "cublaslt_gemm", "sm80_conv2d_gemm", "amx_bf16_gemm", "avx512bf16_gemm", "avx512_f32_gemm",
  // "avx2_f32_gemm", "ref_float_gemm" (float64 sums)
  const char* name;
  Refusal (*can_run)(const FloatGemmDesc&, const Context&);
  size_t (*packed_bytes)(const FloatGemmDesc&);  // 0: uses [n, k] as it lies, w is not copied
  Status (*pack)(const FloatGemmDesc&, const void* w, void* packed);  // unused if packed_bytes is 0
  size_t (*scratch_bytes)(const FloatGemmDesc&, int threads);
  Status (*run)(const Context&, const FloatGemmDesc&, const FloatGemmArgs&);
  DeviceKind device = DeviceKind::kCpu;
};

std::span<const FloatGemmImplementation> float_gemm_implementations();
Expected<const FloatGemmImplementation*> choose_float_gemm(const FloatGemmDesc& desc,
                                                           const Context& context);

}  // namespace intaglio
