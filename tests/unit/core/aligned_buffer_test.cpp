#include "core/aligned_buffer.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>

namespace intaglio {
namespace {

// Large ones begin where a huge page does; every byte of them may be written.
TEST(AlignedBuffer, BeginsAtALineOrAtAHugePage) {
  constexpr size_t kMiB = size_t{1} << 20;
  for (const size_t bytes : {size_t{1}, size_t{100}, 4 * kMiB - 1, 4 * kMiB, 7 * kMiB + 13}) {
    const auto buffer = AlignedBuffer::allocate(bytes);
    ASSERT_TRUE(buffer) << buffer.error().message;
    EXPECT_EQ(buffer->size(), bytes);
    const size_t alignment = bytes < 4 * kMiB ? kCacheLine : 2 * kMiB;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->data()) % alignment, 0u) << bytes;
    std::memset(buffer->data(), 1, bytes);
  }
}

TEST(AlignedBuffer, NoBytesNoMemory) { EXPECT_EQ(AlignedBuffer::allocate(0)->data(), nullptr); }

}  // namespace
}  // namespace intaglio
