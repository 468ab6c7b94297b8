#include "core/cuda/device.h"

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <cstdlib>
#include <string>
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

struct Devices {
  std::vector<CudaDevice> all;
  std::string why_none = "the NVIDIA driver finds no GPU";
};

Expected<Devices> query_all() {
  Devices devices;
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaErrorNoDevice || status == cudaErrorInsufficientDriver) {
    int driver = 0;
    if (cudaDriverGetVersion(&driver) != cudaSuccess) driver = 0;
    devices.why_none = why_no_device(driver, CUDART_VERSION);
    return devices;
  }
  INTAGLIO_TRY(device_status(status, "cudaGetDeviceCount"));
  for (int i = 0; i < count; ++i) {
    INTAGLIO_ASSIGN(CudaDevice device, query(i));
    devices.all.push_back(std::move(device));
  }
  return devices;
}

std::string version_text(int version) {
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
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

std::string why_no_device(int driver_version, int runtime_version) {
  if (driver_version == 0) return "there is no NVIDIA driver on this machine";
  // Within a major version a driver of any minor one will do.
  if (driver_version / 1000 < runtime_version / 1000)
    return fmt::format(
        "the NVIDIA driver is too old: it is for CUDA up to {}, expected {}.0 or newer",
        version_text(driver_version), runtime_version / 1000);
  return "the NVIDIA driver finds no GPU";
}

Expected<const CudaDevice*> find_device(int ordinal) {
  static const Expected<Devices> devices = query_all();
  if (!devices) return tl::unexpected<Error>(devices.error());
  const std::vector<CudaDevice>& all = devices->all;
  if (all.empty())
    return make_error(ErrorCode::kNotFound, "cuda:{}: {}", ordinal, devices->why_none);
  if (ordinal < 0 || ordinal >= static_cast<int>(all.size()))
    return make_error(ErrorCode::kNotFound, "cuda:{}: the last of this machine's GPUs is cuda:{}",
                      ordinal, all.size() - 1);
  return &all[static_cast<size_t>(ordinal)];
}

}  // namespace intaglio::cuda
