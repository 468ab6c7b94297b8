// An owned, 64-byte aligned block of memory: of the host, or of a device (core/memory.h).
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>

#include "core/status.h"

namespace intaglio {

inline constexpr size_t kCacheLine = 64;

inline constexpr size_t align_up(size_t value, size_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}

class AlignedBuffer {
 public:
  AlignedBuffer() = default;

  // Uninitialised memory of `bytes` bytes, on huge pages where it fills some and the system has
  // them: a page of 4 KiB costs a fault, and a weight's matrix has thousands. kOutOfMemory if the
  // system refuses.
  static Expected<AlignedBuffer> allocate(size_t bytes);

  // Takes over memory of another kind; `release` frees it.
  static AlignedBuffer adopt(void* data, size_t bytes, void (*release)(void*)) {
    AlignedBuffer buffer;
    buffer.data_ = Data(data, release);
    buffer.size_ = bytes;
    return buffer;
  }

  void* data() const { return data_.get(); }
  template <typename T>
  T* as() const {
    return static_cast<T*>(data_.get());
  }
  size_t size() const { return size_; }

 private:
  using Data = std::unique_ptr<void, void (*)(void*)>;
  Data data_{nullptr, std::free};
  size_t size_ = 0;
};

}  // namespace intaglio
