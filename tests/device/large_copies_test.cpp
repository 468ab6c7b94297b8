// Large copies through pinned memory on the device double: what arrives, in what order, and what
// stays of the memory they went through.
#include "core/large_copies.h"

#include <gtest/gtest.h>

#include <optional>
#include <vector>

#include "core/cuda/staged_copy.h"
#include "core/memory.h"
#include "device/double/device_double.h"
#include "pipeline/device.h"

namespace intaglio {
namespace {

using test::DeviceDouble;

// Not whole pieces, and more of them than there are slots.
constexpr size_t kBytes = 5 * cuda::kStagedCopyBytes * 2 + 12345;

std::vector<uint8_t> numbers(uint32_t factor) {
  std::vector<uint8_t> values(kBytes);
  for (size_t i = 0; i < kBytes; ++i)
    values[i] = static_cast<uint8_t>((static_cast<uint32_t>(i) * factor) >> 13);
  return values;
}

class LargeCopiesTest : public testing::Test {
 protected:
  void SetUp() override { DeviceDouble::instance().restart(); }
  DeviceDouble& device() { return DeviceDouble::instance(); }
};

// The host's memory may change once copy_in has returned, however late the device copies.
TEST_F(LargeCopiesTest, TheHostHasBeenReadWhenACopyReturns) {
  const DeviceContext opened = *open_device(0, 3);
  const Context& context = opened.context;
  const AlignedBuffer first = *allocate(context, kBytes), second = *allocate(context, kBytes);
  const std::vector<uint8_t> a = numbers(2654435761u), b = numbers(40503u);
  {
    const LargeCopies copies(context);
    std::vector<uint8_t> host = a;
    ASSERT_TRUE(copy_in(context, first.data(), host.data(), kBytes));
    host = b;
    ASSERT_TRUE(copy_in(context, second.data(), host.data(), kBytes));
    std::fill(host.begin(), host.end(), uint8_t{0});
  }
  std::vector<uint8_t> got(kBytes);
  ASSERT_TRUE(copy_out(context, got.data(), first.data(), kBytes));
  EXPECT_EQ(got, a);
  ASSERT_TRUE(copy_out(context, got.data(), second.data(), kBytes));
  EXPECT_EQ(got, b);
}

TEST_F(LargeCopiesTest, ThePinnedMemoryGoesWithTheLastOfThem) {
  const DeviceContext opened = *open_device(0, 2);
  const Context& context = opened.context;
  const AlignedBuffer target = *allocate(context, kBytes);
  const std::vector<uint8_t> host = numbers(40503u);
  const auto copy = [&](size_t bytes) {
    EXPECT_TRUE(copy_in(context, target.data(), host.data(), bytes));
    return device().pinned().now;
  };
  const uint64_t before = device().pinned().now;
  EXPECT_EQ(copy(kBytes), before);  // nobody has begun
  std::optional<LargeCopies> outer(context);
  EXPECT_EQ(copy(cuda::kStagedCopyBytes - 1), before);  // too small
  {
    const LargeCopies inner(context);
    EXPECT_GT(copy(kBytes), before);
  }
  EXPECT_GT(device().pinned().now, before);
  outer.reset();
  EXPECT_EQ(device().pinned().now, before);
}

TEST_F(LargeCopiesTest, NoPinnedMemoryIsAnError) {
  const DeviceContext opened = *open_device(0, 2);
  const Context& context = opened.context;
  const AlignedBuffer target = *allocate(context, kBytes);
  const std::vector<uint8_t> host = numbers(40503u);
  const LargeCopies copies(context);
  device().fail_call(0);
  const Status status = copy_in(context, target.data(), host.data(), kBytes);
  ASSERT_FALSE(status);
  EXPECT_EQ(device().failed_call(), "cudaMallocHost");
  // The next one tries again.
  EXPECT_TRUE(copy_in(context, target.data(), host.data(), kBytes));
}

}  // namespace
}  // namespace intaglio
