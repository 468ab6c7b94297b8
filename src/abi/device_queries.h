// What the argument checks ask of the CUDA driver, behind an interface so that tests can make up devices and pointers.
#pragma once

#include "core/status.h"
#include "ops/cuda/launch/int8_linear.h"

namespace intaglio::abi {

class DeviceQueries {
 public:
  virtual ~DeviceQueries() = default;
  virtual Expected<int> current_device() const = 0;
  virtual Expected<cuda::MemoryInfo> memory_info(const void* pointer) const = 0;
  virtual Expected<int> stream_device(void* stream) const = 0;
};

// The driver's own answers.
class CudaQueries final : public DeviceQueries {
 public:
  Expected<int> current_device() const override { return cuda::current_device(); }
  Expected<cuda::MemoryInfo> memory_info(const void* pointer) const override {
    return cuda::memory_info(pointer);
  }
  Expected<int> stream_device(void* stream) const override { return cuda::stream_device(stream); }
};

}  // namespace intaglio::abi
