#include "core/aligned_buffer.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>

#include "core/sanitizers.h"

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

TEST(AlignedBuffer, HoldsWhatItSays) {
  auto buffer = AlignedBuffer::allocate(100);
  ASSERT_TRUE(buffer);
  EXPECT_EQ(buffer->size(), 100u);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->data()) % kCacheLine, 0u);
  std::memset(buffer->data(), 1, buffer->size());
  EXPECT_EQ(AlignedBuffer::allocate(0)->size(), 0u);
}

TEST(AlignedBuffer, RefusalsNameTheSize) {
  // Under a sanitizer an impossible size is an error of its own unless allocator_may_return_null
  // is set.
  if (kSanitized) GTEST_SKIP();
  volatile size_t bytes = size_t{1} << 62;
  const auto buffer = AlignedBuffer::allocate(bytes);
  ASSERT_FALSE(buffer);
  EXPECT_EQ(buffer.error().code, ErrorCode::kOutOfMemory);
  EXPECT_EQ(buffer.error().message, "the system refused 4611686018427387904 bytes of memory");
}

}  // namespace
}  // namespace intaglio
