// An owned, 64-byte aligned block of memory.
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

  // Uninitialised memory of `bytes` bytes; kOutOfMemory if the system refuses.
  static Expected<AlignedBuffer> allocate(size_t bytes) {
    AlignedBuffer buffer;
    if (bytes == 0) return buffer;
    void* data = std::aligned_alloc(kCacheLine, align_up(bytes, kCacheLine));
    if (data == nullptr)
      return make_error(ErrorCode::kOutOfMemory, "the system refused {} bytes of memory", bytes);
    buffer.data_.reset(data);
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
  struct Free {
    void operator()(void* pointer) const { std::free(pointer); }
  };
  std::unique_ptr<void, Free> data_;
  size_t size_ = 0;
};

}  // namespace intaglio
