#include "core/cuda/device.h"

#include <cuda_runtime_api.h>

#include <cstdlib>
#include <string_view>
#include <vector>

namespace intaglio::cuda {
namespace {

Expected<CudaDevice> query(int ordinal) {
  CudaDevice device;
  device.ordinal = ordinal;
  cudaDeviceProp properties{};
  INTAGLIO_TRY(
      device_status(cudaGetDeviceProperties(&properties, ordinal), "cudaGetDeviceProperties"));
  device.name = properties.name;
  device.compute_capability = 10 * properties.major + properties.minor;
  device.multiprocessors = properties.multiProcessorCount;
  device.shared_bytes_per_block = static_cast<int>(properties.sharedMemPerBlockOptin);
  device.l2_bytes = properties.l2CacheSize;
  device.memory_bytes = static_cast<int64_t>(properties.totalGlobalMem);
  INTAGLIO_TRY(device_status(cudaDriverGetVersion(&device.driver_version), "cudaDriverGetVersion"));
  return device;
}

Expected<std::vector<CudaDevice>> query_all() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaErrorNoDevice || status == cudaErrorInsufficientDriver)
    return std::vector<CudaDevice>{};
  INTAGLIO_TRY(device_status(status, "cudaGetDeviceCount"));
  std::vector<CudaDevice> devices;
  for (int i = 0; i < count; ++i) {
    INTAGLIO_ASSIGN(CudaDevice device, query(i));
    devices.push_back(std::move(device));
  }
  return devices;
}

}  // namespace

bool may_use_wgmma(const CudaDevice& device) {
  static const bool kept_to_sm80 = [] {
    const char* value = std::getenv("INTAGLIO_GPU_ISA");
    return value != nullptr && std::string_view(value) == "sm80";
  }();
  return device.compute_capability == 90 && !kept_to_sm80;
}

Status device_status(int status, const char* call) {
  if (status == cudaSuccess) return {};
  return make_error(ErrorCode::kDevice, "{}: {}", call,
                    cudaGetErrorString(static_cast<cudaError_t>(status)));
}

Expected<const CudaDevice*> find_device(int ordinal) {
  static const Expected<std::vector<CudaDevice>> devices = query_all();
  if (!devices) return tl::unexpected<Error>(devices.error());
  if (ordinal < 0 || ordinal >= static_cast<int>(devices->size()))
    return make_error(ErrorCode::kNotFound, "cuda:{}: there are {} such devices", ordinal,
                      devices->size());
  return &(*devices)[static_cast<size_t>(ordinal)];
}

}  // namespace intaglio::cuda
