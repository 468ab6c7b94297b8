// Launch of the kernels that measure the int8 tensor cores' own rate.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace intaglio::cuda {

// One launch: `iterations` of the inner loop on every multiprocessor.
struct TensorPeakLaunch {
  int multiprocessors = 0;
  int iterations = 0;
  int32_t* sink = nullptr;  // tensor_peak_sink_bytes
  cudaStream_t stream = nullptr;
};

size_t tensor_peak_sink_bytes(int multiprocessors);

// mma.sync with operands in registers, sm_75 and up.
cudaError_t mma_s8_peak(const TensorPeakLaunch& launch);
double mma_s8_peak_operations(const TensorPeakLaunch& launch);

// wgmma with operands in shared memory: sm_90a, and only where that family was compiled (the
// operations are not done otherwise).
cudaError_t wgmma_s8_peak(const TensorPeakLaunch& launch);
double wgmma_s8_peak_operations(const TensorPeakLaunch& launch);

}  // namespace intaglio::cuda
