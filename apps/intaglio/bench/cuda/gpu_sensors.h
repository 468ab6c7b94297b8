// Clock, power and temperature of a GPU from the driver's management library, loaded at run time;
// without it, nothing is known.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace intaglio::cli {

class GpuSensors {
 public:
  // Of the CUDA device `ordinal`.
  explicit GpuSensors(int ordinal);
  ~GpuSensors();
  GpuSensors(const GpuSensors&) = delete;
  GpuSensors& operator=(const GpuSensors&) = delete;

  // "driver", "power_limit_w", "sm_mhz_max"; what is not known is left out.
  nlohmann::ordered_json card() const;
  // "when", "sm_mhz", "power_w", "celsius" right now.
  nlohmann::ordered_json sample(const std::string& when) const;

 private:
  struct Library;
  Library* library_ = nullptr;  // nullptr: not there
  void* device_ = nullptr;
};

}  // namespace intaglio::cli
