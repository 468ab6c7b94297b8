// int8 x int8 -> int32 matrix product with a fused epilogue: the op this engine exists for.
//
//   acc[m, n] = sum_k a[m, k] * w[n, k]                      exact in int32 (k <= 130000)
//   y[m, n]   = acc[m, n] * (a_scale_row[m] * w_scale_col[n]) + bias[n]
//             = (acc[m, n] * a_scale_row[m] + sum_r side.x[m, r] * side.w[n, r]) * w_scale_col[n]
//               + bias[n] with a side branch: its products exact, its sums in float
//   out       = epilogue(y), ops/epilogue.h. Gated pairs: rows of w are interleaved in groups of
//               kSwigluGroup, rows [32 g, 32 g + 16) are gate (w1) rows 16 g.., rows
//               [32 g + 16, 32 g + 32) the up (w3) rows of the same outputs.
//   out_dtype kI32 writes acc itself (no scales, no bias, no epilogue), for exactness tests.
// Operands use the full int8 range, -128 included. A NaN in a_scale_row makes its output row NaN.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/context.h"
#include "core/dtype.h"
#include "core/registry.h"
#include "core/status.h"
#include "ops/epilogue.h"
#include "ops/s8_side_rows.h"

namespace intaglio {

struct S8GemmDesc {
  int64_t m = 0, n = 0, k = 0;  // any sizes >= 1; gated pairs need n % 32 == 0
  GemmEpilogue epilogue = GemmEpilogue::kNone;
  DType out_dtype = DType::kF32;  // kF32, kBF16 or kI32
};

struct S8GemmArgs {
  const int8_t* a = nullptr;  // [m, k] row-major, row stride lda elements
  int64_t lda = 0;
  const float* a_scale_row = nullptr;  // [m]
  const void* w_packed = nullptr;      // written by `pack` of the same implementation
  const float* w_scale_col = nullptr;  // [n]
  const float* bias = nullptr;         // [n] or nullptr
  void* out = nullptr;                 // [m, n or n/2], row stride ldo elements
  int64_t ldo = 0;
  S8SideRows side = {};  // of implementations that take one
};

struct S8GemmImplementation {
  const char*
      name;  // "cuda_s8_gemm", "amx_s8_gemm", "avx512vnni_s8_gemm", "avx2_s8_gemm", "ref_s8_gemm"
  Refusal (*can_run)(const S8GemmDesc&, const Context&);
  // Packs w [n, k] row-major int8 (row stride k) into the kernel's own layout, padding included.
  // 64-byte aligned target.
  size_t (*packed_bytes)(int64_t n, int64_t k);
  void (*pack)(const int8_t* w, int64_t n, int64_t k, void* packed);
  // Inverse of pack, rows [first, first + count) of w into out [count, k]; for int8-dequant and for
  // inspection.
  void (*unpack_rows)(const void* packed, int64_t n, int64_t k, int64_t first, int64_t count,
                      int8_t* out);
  size_t (*scratch_bytes)(const S8GemmDesc&, const Context&);
  Status (*run)(const Context&, const S8GemmDesc&, const S8GemmArgs&);
  DeviceKind device = DeviceKind::kCpu;
};

// Best first; the last is the reference.
std::span<const S8GemmImplementation> s8_gemm_implementations();

// The implementation that packs and runs a weight of this desc on this machine (m is a hint only:
// the choice must hold for every m).
Expected<const S8GemmImplementation*> choose_s8_gemm(const S8GemmDesc& desc,
                                                     const Context& context);

}  // namespace intaglio
