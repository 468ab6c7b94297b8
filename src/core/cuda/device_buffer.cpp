#include "core/cuda/device_buffer.h"

#include <cuda_runtime_api.h>

#include <algorithm>

#include "core/cuda/device.h"

namespace intaglio::cuda {

DeviceBuffer::~DeviceBuffer() {
  if (data_ != nullptr) cudaFree(data_);
}

Expected<DeviceBuffer> DeviceBuffer::allocate(size_t bytes) {
  DeviceBuffer buffer;
  const cudaError_t status = cudaMalloc(&buffer.data_, std::max<size_t>(bytes, 1));
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // it is not sticky, but the next check would report it
    return make_error(ErrorCode::kOutOfMemory, "{} bytes of device memory are not to be had",
                      bytes);
  }
  INTAGLIO_TRY(device_status(status, "cudaMalloc"));
  buffer.bytes_ = bytes;
  return buffer;
}

}  // namespace intaglio::cuda
