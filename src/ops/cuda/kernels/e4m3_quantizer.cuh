// The parts that every quantizer of rows to e4m3 shares: the scale, rounding, the store. Formula
// and edge cases: ops/cuda/e4m3_rows_params.h.
#pragma once

#include "ops/cuda/kernels/row_quantizer.cuh"
#include "ops/cuda/ptx/e4m3.cuh"

namespace intaglio::cuda {

inline constexpr float kLargestE4m3 = 448.0f;
inline constexpr float kTinyE4m3Row = 2e-36f;  // 448 / absmax overflows below 1.4e-36

__device__ __forceinline__ DeviceRowScale e4m3_row_scale(uint32_t magnitude_bits) {
  return device_row_scale(magnitude_bits, kLargestE4m3, kTinyE4m3Row);
}

// Four values to four bytes.
__device__ __forceinline__ uint32_t e4m3_quantize4(const float* v, const DeviceRowScale& row) {
  const uint32_t low = ptx::cvt_e4m3x2(__fmul_rn(v[0], row.factor), __fmul_rn(v[1], row.factor));
  const uint32_t high = ptx::cvt_e4m3x2(__fmul_rn(v[2], row.factor), __fmul_rn(v[3], row.factor));
  return (low | high << 16) & row.keep;
}

template <int kCount>
__device__ __forceinline__ void store_e4m3(uint8_t* at, const float (&v)[kCount],
                                           const DeviceRowScale& row) {
  if constexpr (kCount == 8) {
    *reinterpret_cast<uint2*>(at) = make_uint2(e4m3_quantize4(v, row), e4m3_quantize4(v + 4, row));
  } else {
    static_assert(kCount == 4);
    *reinterpret_cast<uint32_t*>(at) = e4m3_quantize4(v, row);
  }
}

}  // namespace intaglio::cuda
