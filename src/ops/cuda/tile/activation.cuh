// The arithmetic of ops/nonlinearity.h in kernels. exp overflows to infinity where x is below -88,
// and the quotient to -0.
#pragma once

#include "ops/nonlinearity.h"

namespace intaglio::cuda {

struct DeviceMath {
  using Value = float;
  static __device__ __forceinline__ float set(double x) { return static_cast<float>(x); }
  static __device__ __forceinline__ float add(float a, float b) { return __fadd_rn(a, b); }
  static __device__ __forceinline__ float multiply(float a, float b) { return __fmul_rn(a, b); }
  static __device__ __forceinline__ float tanh(float x) { return tanhf(x); }
};

// Every step rounded.
struct RoundedMath : DeviceMath {
  static __device__ __forceinline__ float quotient(float x, float u) {
    return __fdiv_rn(x, __fadd_rn(1.0f, expf(-u)));
  }
};

// SiLU within 4 units in the last place of float: the fast quotient is 2 units off at most, and 0
// where exp is beyond 2^126: there less than 1e-35 is left.
struct ExactMath : DeviceMath {
  static __device__ __forceinline__ float quotient(float x, float u) {
    return __fdividef(x, __fadd_rn(1.0f, expf(-u)));
  }
};

// For outputs of 16 bits: exp by one instruction, relative error below 2e-5 for |u| < 88.
struct FastMath : DeviceMath {
  static __device__ __forceinline__ float quotient(float x, float u) {
    return __fdividef(x, __fadd_rn(1.0f, __expf(-u)));
  }
};

}  // namespace intaglio::cuda
