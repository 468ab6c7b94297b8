// What a test on the host gives to an op, where the op finds it: on a GPU in its memory, with a
// guard behind each array, which no op may touch.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <utility>
#include <vector>

#include "core/memory.h"

namespace intaglio::test {

class Operands {
 public:
  explicit Operands(const Context& context) : context_(context) { guard_.fill(std::byte{0xa5}); }

  // `count` values, copied to the device; on the CPU the values themselves. nullptr stays nullptr.
  template <typename T>
  T* in(T* values, size_t count) {
    if (context_.gpu == nullptr || values == nullptr) return values;
    const size_t bytes = count * sizeof(T);
    Expected<AlignedBuffer> buffer = allocate(context_, bytes + guard_.size());
    EXPECT_TRUE(buffer);
    if (!buffer) return nullptr;
    auto* const there = buffer->template as<std::byte>();
    EXPECT_TRUE(copy_in(context_, there, values, bytes));
    EXPECT_TRUE(copy_in(context_, there + bytes, guard_.data(), guard_.size()));
    arrays_.push_back({std::move(*buffer), bytes});
    return static_cast<T*>(static_cast<void*>(there));
  }
  void* in(void* values, size_t bytes) { return in(static_cast<std::byte*>(values), bytes); }

  // Likewise, and `fetch` brings them back.
  template <typename T>
  T* out(T* values, size_t count) {
    T* const there = in(values, count);
    if (there != values) results_.push_back({values, there, count * sizeof(T)});
    return there;
  }
  void* out(void* values, size_t bytes) { return out(static_cast<std::byte*>(values), bytes); }

  // Waits for the op, whose results are in the host's memory then.
  void fetch() {
    for (const Result& result : results_)
      EXPECT_TRUE(copy_out(context_, result.host, result.device, result.bytes));
    for (const Array& array : arrays_) {
      Guard found;
      EXPECT_TRUE(copy_out(context_, found.data(), array.buffer.as<std::byte>() + array.bytes,
                           found.size()));
      EXPECT_EQ(found, guard_) << "written behind an array of " << array.bytes << " bytes";
    }
    EXPECT_TRUE(synchronize(context_));
  }

 private:
  using Guard = std::array<std::byte, 64>;
  struct Array {
    AlignedBuffer buffer;
    size_t bytes;
  };
  struct Result {
    void* host;
    const void* device;
    size_t bytes;
  };
  Context context_;
  Guard guard_;
  std::vector<Array> arrays_;
  std::vector<Result> results_;
};

}  // namespace intaglio::test
