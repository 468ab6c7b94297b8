// A bump allocator over one planned block: forward passes take their activations and scratch from
// it and give them back in scopes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "core/aligned_buffer.h"
#include "core/status.h"

namespace intaglio {

class Arena {
 public:
  Arena() = default;
  explicit Arena(AlignedBuffer buffer) : buffer_(std::move(buffer)) {}

  static Expected<Arena> with_capacity(size_t bytes) {
    INTAGLIO_ASSIGN(AlignedBuffer buffer, AlignedBuffer::allocate(bytes));
    return Arena(std::move(buffer));
  }

  // `count` elements, 64-byte aligned, uninitialised. kOutOfMemory names both sizes: the plan was
  // too small.
  template <typename T>
  Expected<T*> take(int64_t count) {
    // Beyond these the byte count below would wrap and a tiny block would pass for a huge one.
    if (count < 0 || static_cast<uint64_t>(count) > (SIZE_MAX - kCacheLine) / sizeof(T)) {
      return make_error(ErrorCode::kOutOfMemory,
                        "arena of {} bytes has {} left, {} elements of {} bytes needed",
                        buffer_.size(), buffer_.size() - used_, count, sizeof(T));
    }
    const size_t bytes = align_up(static_cast<size_t>(count) * sizeof(T), kCacheLine);
    if (bytes > buffer_.size() - used_) {
      return make_error(ErrorCode::kOutOfMemory, "arena of {} bytes has {} left, {} needed",
                        buffer_.size(), buffer_.size() - used_, bytes);
    }
    T* pointer = reinterpret_cast<T*>(buffer_.as<std::byte>() + used_);
    used_ += bytes;
    peak_ = std::max(peak_, used_);
    return pointer;
  }

  const void* data() const { return buffer_.data(); }
  size_t capacity() const { return buffer_.size(); }
  size_t used() const { return used_; }
  size_t peak() const { return peak_; }

  // Gives back, at the end of its life, everything taken since it was made.
  class Scope {
   public:
    explicit Scope(Arena& arena) : arena_(arena), mark_(arena.used_) {}
    ~Scope() { arena_.used_ = mark_; }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Arena& arena_;
    size_t mark_;
  };

 private:
  AlignedBuffer buffer_;
  size_t used_ = 0;
  size_t peak_ = 0;
};

// Bytes that `take<T>(count)` uses.
template <typename T>
constexpr size_t arena_bytes(int64_t count) {
  return align_up(static_cast<size_t>(count) * sizeof(T), kCacheLine);
}

}  // namespace intaglio
