#include "core/cuda/device_memory.h"

#include <cuda_runtime_api.h>

#include "core/cuda/device.h"

namespace intaglio::cuda {
namespace {

void free_device(void* data) { cudaFree(data); }
void free_pinned(void* data) { cudaFreeHost(data); }

Expected<AlignedBuffer> owned(cudaError_t status, const char* call, const char* kind, void* data,
                              size_t bytes, void (*release)(void*)) {
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // it is not sticky, but the next check would report it
    return make_error(ErrorCode::kOutOfMemory, "{} bytes of {} memory are not to be had", bytes,
                      kind);
  }
  INTAGLIO_TRY(device_status(status, call));
  return AlignedBuffer::adopt(data, bytes, release);
}

}  // namespace

Expected<AlignedBuffer> allocate_device_memory(size_t bytes) {
  if (bytes == 0) return AlignedBuffer{};
  void* data = nullptr;
  const cudaError_t status = cudaMalloc(&data, bytes);
  return owned(status, "cudaMalloc", "device", data, bytes, free_device);
}

Expected<AlignedBuffer> allocate_pinned_memory(size_t bytes) {
  if (bytes == 0) return AlignedBuffer{};
  void* data = nullptr;
  const cudaError_t status = cudaMallocHost(&data, bytes);
  return owned(status, "cudaMallocHost", "pinned host", data, bytes, free_pinned);
}

Status copy_to_device(void* target, const void* host, size_t bytes, void* stream) {
  if (bytes == 0) return {};
  return device_status(cudaMemcpyAsync(target, host, bytes, cudaMemcpyHostToDevice,
                                       static_cast<cudaStream_t>(stream)),
                       "cudaMemcpyAsync to the device");
}

Status copy_to_device(void* target, size_t stride, const void* host, size_t unit, size_t bytes,
                      void* stream) {
  if (stride == unit) return copy_to_device(target, host, bytes, stream);
  const size_t whole = bytes / unit;
  if (whole > 0) {
    INTAGLIO_TRY(
        device_status(cudaMemcpy2DAsync(target, stride, host, unit, unit, whole,
                                        cudaMemcpyHostToDevice, static_cast<cudaStream_t>(stream)),
                      "cudaMemcpy2DAsync to the device"));
  }
  return copy_to_device(static_cast<std::byte*>(target) + whole * stride,
                        static_cast<const std::byte*>(host) + whole * unit, bytes - whole * unit,
                        stream);
}

Status copy_from_device(void* host, const void* source, size_t bytes, void* stream) {
  if (bytes == 0) return {};
  auto* const queue = static_cast<cudaStream_t>(stream);
  INTAGLIO_TRY(device_status(cudaMemcpyAsync(host, source, bytes, cudaMemcpyDeviceToHost, queue),
                             "cudaMemcpyAsync from the device"));
  return synchronize_stream(stream);
}

Status copy_on_device(void* target, const void* source, const StridedCopy& s, void* stream) {
  auto* const queue = static_cast<cudaStream_t>(stream);
  if (s.rows == 1) {
    return device_status(cudaMemcpyAsync(target, source, s.bytes, cudaMemcpyDeviceToDevice, queue),
                         "cudaMemcpyAsync on the device");
  }
  return device_status(cudaMemcpy2DAsync(target, s.target_stride, source, s.source_stride, s.bytes,
                                         s.rows, cudaMemcpyDeviceToDevice, queue),
                       "cudaMemcpy2DAsync");
}

Status fill_device_memory(void* target, size_t bytes, void* stream) {
  return device_status(cudaMemsetAsync(target, 0, bytes, static_cast<cudaStream_t>(stream)),
                       "cudaMemsetAsync");
}

Status synchronize_stream(void* stream) {
  return device_status(cudaStreamSynchronize(static_cast<cudaStream_t>(stream)),
                       "cudaStreamSynchronize");
}

Expected<DeviceMemoryInfo> device_memory_info() {
  DeviceMemoryInfo info;
  INTAGLIO_TRY(device_status(cudaMemGetInfo(&info.free, &info.total), "cudaMemGetInfo"));
  return info;
}

}  // namespace intaglio::cuda
