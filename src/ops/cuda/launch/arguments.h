// What launchers ask of their arguments and of the current device. Host side only.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace intaglio::cuda {

inline bool is_aligned(const void* pointer, uintptr_t bytes) {
  return reinterpret_cast<uintptr_t>(pointer) % bytes == 0;
}

constexpr int64_t div_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// 0 where the runtime does not say.
inline int device_attribute(cudaDeviceAttr attribute) {
  int device = 0, value = 0;
  if (cudaGetDevice(&device) != cudaSuccess) return 0;
  return cudaDeviceGetAttribute(&value, attribute, device) == cudaSuccess ? value : 0;
}

}  // namespace intaglio::cuda
