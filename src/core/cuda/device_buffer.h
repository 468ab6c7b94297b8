// Device memory that frees itself.
#pragma once

#include <cstddef>
#include <utility>

#include "core/status.h"

namespace intaglio::cuda {

class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  ~DeviceBuffer();
  DeviceBuffer(DeviceBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    DeviceBuffer old(std::move(other));  // frees what was held when it goes
    std::swap(data_, old.data_);
    std::swap(bytes_, old.bytes_);
    return *this;
  }

  // On the current device. kOutOfMemory with the size if there is not enough.
  static Expected<DeviceBuffer> allocate(size_t bytes);

  template <typename T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  size_t size() const { return bytes_; }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace intaglio::cuda
