#include "ops/cuda/kernels/mma_s8_peak.cuh"
#include "ops/cuda/launch/tensor_peak.h"

namespace intaglio::cuda {

size_t tensor_peak_sink_bytes(int multiprocessors) {
  return sizeof(int32_t) * static_cast<size_t>(multiprocessors) * kMmaPeakBlocksOfSm *
         kMmaPeakThreads;
}

cudaError_t mma_s8_peak(const TensorPeakLaunch& l) {
  mma_s8_peak_kernel<<<static_cast<unsigned>(l.multiprocessors * kMmaPeakBlocksOfSm),
                       kMmaPeakThreads, 0, l.stream>>>(l.iterations, l.sink);
  return cudaPeekAtLastError();
}

double mma_s8_peak_operations(const TensorPeakLaunch& l) {
  return kMmaPeakOperations * l.iterations * l.multiprocessors * kMmaPeakBlocksOfSm;
}

}  // namespace intaglio::cuda
