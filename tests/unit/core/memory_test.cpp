#include "core/memory.h"

#include <gtest/gtest.h>

#include <vector>

#include "core/recording.h"

namespace intaglio {
namespace {

TEST(Memory, UploadsAndCopiesBack) {
  const Context context;
  const std::vector<float> values{1.0f, -2.0f, 3.5f};
  const auto buffer = upload(context, values);
  ASSERT_TRUE(buffer) << buffer.error().message;
  EXPECT_EQ(buffer->size(), 12u);
  std::vector<float> back(3);
  ASSERT_TRUE(copy_out(context, back.data(), buffer->data(), buffer->size()));
  EXPECT_EQ(back, values);
}

TEST(Memory, NoValuesNoMemory) {
  const auto buffer = upload(Context{}, {});
  ASSERT_TRUE(buffer);
  EXPECT_EQ(buffer->size(), 0u);
  EXPECT_EQ(buffer->data(), nullptr);
}

// Rows of 4 bytes, 8 apart in the target and 12 in the source; what lies between stays as it was.
TEST(Memory, StridedCopyLeavesTheGapsAlone) {
  std::vector<int32_t> source{1, 0, 0, 2, 0, 0, 3};
  std::vector<int32_t> target(6, -1);
  ASSERT_TRUE(copy_inside(Context{}, target.data(), source.data(), {4, 3, 8, 12}));
  EXPECT_EQ(target, (std::vector<int32_t>{1, -1, 2, -1, 3, -1}));
}

TEST(Memory, FillsWithZeros) {
  std::vector<int32_t> values(4, 7);
  ASSERT_TRUE(fill_zero(Context{}, values.data() + 1, 8));
  EXPECT_EQ(values, (std::vector<int32_t>{7, 0, 0, 7}));
}

TEST(Memory, AdoptedMemoryIsReleasedOnce) {
  static int released;
  released = 0;
  int owned = 0;
  {
    AlignedBuffer a = AlignedBuffer::adopt(&owned, sizeof(owned), [](void*) { ++released; });
    const AlignedBuffer b = std::move(a);
    EXPECT_EQ(b.data(), &owned);
    EXPECT_EQ(released, 0);
  }
  EXPECT_EQ(released, 1);
}

// On the CPU a recording is the work itself, each time.
TEST(Recording, RunsEachTimeOnTheCpu) {
  int calls = 0;
  Recording recording([&]() -> Status {
    ++calls;
    return {};
  });
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(recording.run(Context{}));
  EXPECT_EQ(calls, 3);
}

TEST(Recording, PassesErrorsOn) {
  Recording recording([] { return Status(make_error(ErrorCode::kUnsupported, "not today")); });
  const Status status = recording.run(Context{});
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().message, "not today");
}

}  // namespace
}  // namespace intaglio
