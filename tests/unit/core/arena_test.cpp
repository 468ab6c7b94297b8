#include "core/arena.h"

#include <gtest/gtest.h>

#include <limits>

namespace intaglio::test {
namespace {

Arena make_arena(size_t bytes) {
  auto arena = Arena::with_capacity(bytes);
  EXPECT_TRUE(arena) << arena.error().message;
  return arena ? std::move(*arena) : Arena();
}

TEST(Arena, BlocksAreAlignedAndApart) {
  Arena arena = make_arena(1024);
  auto bytes = arena.take<char>(1);
  auto floats = arena.take<float>(17);
  auto last = arena.take<double>(1);
  ASSERT_TRUE(bytes && floats && last);
  for (const void* block : {static_cast<const void*>(*bytes), static_cast<const void*>(*floats),
                            static_cast<const void*>(*last)}) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(block) % kCacheLine, 0u);
  }
  EXPECT_EQ(reinterpret_cast<char*>(*floats) - *bytes, 64);
  EXPECT_EQ(reinterpret_cast<char*>(*last) - *bytes, 64 + 128) << "68 bytes take two lines";
  EXPECT_EQ(arena.used(), 64u + 128 + 64);
}

TEST(Arena, ExhaustionNamesTheSizes) {
  Arena arena = make_arena(256);
  ASSERT_TRUE(arena.take<float>(20));  // 80 bytes in two lines
  const auto refused = arena.take<float>(40);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kOutOfMemory);
  EXPECT_EQ(refused.error().message, "arena of 256 bytes has 128 left, 192 needed");
  EXPECT_EQ(arena.used(), 128u) << "a refusal takes nothing";
  EXPECT_TRUE(arena.take<float>(32)) << "what is left can still be taken, to the last byte";
  EXPECT_FALSE(arena.take<char>(1));
}

TEST(Arena, AbsurdCountsAreRefused) {
  Arena arena = make_arena(256);
  EXPECT_FALSE(arena.take<double>(std::numeric_limits<int64_t>::max()))
      << "the byte count would wrap";
  EXPECT_FALSE(arena.take<double>(int64_t{1} << 61)) << "2^64 bytes would wrap to none";
  const auto negative = arena.take<float>(-1);
  ASSERT_FALSE(negative);
  EXPECT_EQ(negative.error().message,
            "arena of 256 bytes has 256 left, -1 elements of 4 bytes needed");
  EXPECT_EQ(arena.used(), 0u);
}

TEST(Arena, ScopesGiveBack) {
  Arena arena = make_arena(512);
  ASSERT_TRUE(arena.take<char>(64));
  char* first = nullptr;
  {
    const Arena::Scope outer(arena);
    first = arena.take<char>(64).value();
    {
      const Arena::Scope inner(arena);
      ASSERT_TRUE(arena.take<char>(200));
      EXPECT_EQ(arena.used(), 64u + 64 + 256);
    }
    EXPECT_EQ(arena.used(), 128u);
  }
  EXPECT_EQ(arena.used(), 64u);
  EXPECT_EQ(arena.peak(), 384u) << "the peak stays";
  EXPECT_EQ(arena.take<char>(1).value(), first) << "the same bytes again";
}

TEST(Arena, AnEmptyOneHoldsNothing) {
  Arena arena;
  EXPECT_EQ(arena.capacity(), 0u);
  EXPECT_TRUE(arena.take<float>(0));
  const auto refused = arena.take<float>(1);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message, "arena of 0 bytes has 0 left, 64 needed");
}

TEST(Arena, PlannedBytesAreEnough) {
  const size_t bytes = arena_bytes<float>(17) + arena_bytes<int8_t>(65) + arena_bytes<double>(0);
  Arena arena = make_arena(bytes);
  EXPECT_TRUE(arena.take<float>(17));
  EXPECT_TRUE(arena.take<int8_t>(65));
  EXPECT_TRUE(arena.take<double>(0));
  EXPECT_EQ(arena.used(), bytes);
}

}  // namespace
}  // namespace intaglio::test
