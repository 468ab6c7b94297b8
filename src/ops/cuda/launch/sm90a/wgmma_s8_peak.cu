#include "ops/cuda/kernels/wgmma_s8_peak.cuh"
#include "ops/cuda/launch/dynamic_shared.h"
#include "ops/cuda/launch/tensor_peak.h"

namespace intaglio::cuda {

cudaError_t wgmma_s8_peak(const TensorPeakLaunch& l) {
  const cudaError_t status = allow_dynamic_shared(wgmma_s8_peak_kernel, kWgmmaPeakSharedBytes);
  if (status != cudaSuccess) return status;
  wgmma_s8_peak_kernel<<<static_cast<unsigned>(l.multiprocessors), kWgmmaPeakThreads,
                         kWgmmaPeakSharedBytes, l.stream>>>(l.iterations, l.sink);
  return cudaPeekAtLastError();
}

double wgmma_s8_peak_operations(const TensorPeakLaunch& l) {
  return kWgmmaPeakOperations * l.iterations * l.multiprocessors;
}

}  // namespace intaglio::cuda
