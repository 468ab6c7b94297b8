// A made-up driver: device 0 is current; memory is known by its address.
#pragma once

#include <map>

#include "abi/int8_device.h"

namespace intaglio::test {

class FakeQueries final : public abi::DeviceQueries {
 public:
  int current = 0;
  int device_of_stream = 0;
  std::map<const void*, cuda::MemoryInfo> memory;  // any other address: memory of device 0
  mutable int asked = 0;                           // how often memory_info was called

  Expected<int> current_device() const override { return current; }
  Expected<int> stream_device(void*) const override { return device_of_stream; }
  Expected<cuda::MemoryInfo> memory_info(const void* pointer) const override {
    ++asked;
    const auto found = memory.find(pointer);
    return found == memory.end() ? cuda::MemoryInfo{cuda::MemoryKind::kDevice, 0} : found->second;
  }
};

inline void* address(uintptr_t value) { return reinterpret_cast<void*>(value); }

}  // namespace intaglio::test
