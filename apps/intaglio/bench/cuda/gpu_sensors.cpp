#include "gpu_sensors.h"

#include <cuda_runtime_api.h>
#include <dlfcn.h>

namespace intaglio::cli {

// NVML's entry points, declared here by its documentation so that its header is not needed. 0 is
// success.
struct GpuSensors::Library {
  void* handle = nullptr;
  int (*init)() = nullptr;
  int (*shutdown)() = nullptr;
  int (*device_by_bus)(const char*, void**) = nullptr;
  int (*clock)(void*, int, unsigned*) = nullptr;
  int (*max_clock)(void*, int, unsigned*) = nullptr;
  int (*power)(void*, unsigned*) = nullptr;
  int (*power_limit)(void*, unsigned*) = nullptr;
  int (*temperature)(void*, int, unsigned*) = nullptr;
  int (*driver)(char*, unsigned) = nullptr;

  template <typename Function>
  bool find(const char* name, Function& function) {
    function = reinterpret_cast<Function>(dlsym(handle, name));
    return function != nullptr;
  }
  bool open() {
    handle = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    return handle != nullptr && find("nvmlInit_v2", init) && find("nvmlShutdown", shutdown) &&
           find("nvmlDeviceGetHandleByPciBusId_v2", device_by_bus) &&
           find("nvmlDeviceGetClockInfo", clock) && find("nvmlDeviceGetMaxClockInfo", max_clock) &&
           find("nvmlDeviceGetPowerUsage", power) &&
           find("nvmlDeviceGetEnforcedPowerLimit", power_limit) &&
           find("nvmlDeviceGetTemperature", temperature) &&
           find("nvmlSystemGetDriverVersion", driver) && init() == 0;
  }
};

namespace {

constexpr int kSmClock = 1;    // NVML_CLOCK_SM
constexpr int kGpuSensor = 0;  // NVML_TEMPERATURE_GPU
constexpr double kMilli = 1e-3;

}  // namespace

GpuSensors::GpuSensors(int ordinal) {
  char bus[32] = "";
  if (cudaDeviceGetPCIBusId(bus, sizeof bus, ordinal) != cudaSuccess) return;
  library_ = new Library;
  if (library_->open() && library_->device_by_bus(bus, &device_) == 0) return;
  if (library_->handle != nullptr) dlclose(library_->handle);
  delete library_;
  library_ = nullptr;
}

GpuSensors::~GpuSensors() {
  if (library_ == nullptr) return;
  library_->shutdown();
  dlclose(library_->handle);
  delete library_;
}

nlohmann::ordered_json GpuSensors::card() const {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  if (library_ == nullptr) return json;
  char driver[96] = "";
  unsigned value = 0;
  if (library_->driver(driver, sizeof driver) == 0) json["driver"] = driver;
  if (library_->power_limit(device_, &value) == 0) json["power_limit_w"] = kMilli * value;
  if (library_->max_clock(device_, kSmClock, &value) == 0) json["sm_mhz_max"] = value;
  return json;
}

nlohmann::ordered_json GpuSensors::sample(const std::string& when) const {
  nlohmann::ordered_json json{{"when", when}};
  if (library_ == nullptr) return json;
  unsigned value = 0;
  if (library_->clock(device_, kSmClock, &value) == 0) json["sm_mhz"] = value;
  if (library_->power(device_, &value) == 0) json["power_w"] = kMilli * value;
  if (library_->temperature(device_, kGpuSensor, &value) == 0) json["celsius"] = value;
  return json;
}

}  // namespace intaglio::cli
