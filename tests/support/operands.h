// What a test on the host gives to an op, where the op finds it: on a GPU in its memory.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "core/memory.h"

namespace intaglio::test {

class Operands {
 public:
  explicit Operands(const Context& context) : context_(context) {}

  // `count` values, copied to the device; on the CPU the values themselves. nullptr stays nullptr.
  template <typename T>
  T* in(T* values, size_t count) {
    if (context_.gpu == nullptr || values == nullptr) return values;
    Expected<AlignedBuffer> buffer = allocate(context_, std::max<size_t>(count * sizeof(T), 1));
    EXPECT_TRUE(buffer && copy_in(context_, buffer->data(), values, count * sizeof(T)));
    if (!buffer) return nullptr;
    buffers_.push_back(std::move(*buffer));
    return static_cast<T*>(static_cast<void*>(buffers_.back().data()));
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
    EXPECT_TRUE(synchronize(context_));
  }

 private:
  struct Result {
    void* host;
    const void* device;
    size_t bytes;
  };
  Context context_;
  std::vector<AlignedBuffer> buffers_;
  std::vector<Result> results_;
};

}  // namespace intaglio::test
