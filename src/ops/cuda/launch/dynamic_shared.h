// Shared memory beyond the 48 KB that every kernel may have.
#pragma once

#include <cuda_runtime_api.h>

namespace intaglio::cuda {

// Lets `kernel` take up to `bytes` on the current device; every launch that needs them asks first.
// What one device was told no other knows, so nothing of it is kept: the call is cheap. `bytes` is
// the same for all calls of a kernel on a device, or one thread would take back what another was
// given.
template <typename Kernel>
cudaError_t allow_dynamic_shared(Kernel* kernel, int bytes) {
  return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
}

}  // namespace intaglio::cuda
