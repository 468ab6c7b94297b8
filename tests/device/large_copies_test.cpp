// Large copies through pinned memory on the device double: what arrives, in what order, and what
// stays of the memory they went through.
#include "core/large_copies.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
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

// In pieces of whole units, whose memory is filled anew only once the device has read it.
TEST_F(LargeCopiesTest, WhatIsMadeArrives) {
  const DeviceContext opened = *open_device(0, 2);
  const Context& context = opened.context;
  const AlignedBuffer target = *allocate(context, kBytes);
  const std::vector<uint8_t> host = numbers(2654435761u);
  constexpr size_t kUnit = 12288;
  const AlignedBuffer twice = *allocate(context, 2 * (kBytes + kUnit));
  const auto make = [&](size_t at, std::span<std::byte> out) -> Status {
    EXPECT_EQ(at % kUnit, 0u);
    std::memcpy(out.data(), host.data() + at, out.size());
    return {};
  };
  std::vector<uint8_t> got(kBytes);
  for (const bool begun : {false, true}) {
    std::optional<LargeCopies> copies;
    if (begun) copies.emplace(context);
    ASSERT_TRUE(fill_zero(context, target.data(), kBytes));
    ASSERT_TRUE(cuda::make_staged(context, {target.data(), kUnit, kUnit}, kBytes, make));
    ASSERT_TRUE(copy_out(context, got.data(), target.data(), kBytes));
    EXPECT_EQ(got, host);
    // Two sets of runs in turn.
    for (const size_t first : {size_t{0}, kUnit}) {
      const cuda::StagedTarget turns{twice.as<std::byte>() + first, kUnit, 2 * kUnit};
      ASSERT_TRUE(cuda::make_staged(context, turns, kBytes, make));
    }
    got.assign(twice.size(), 0);
    ASSERT_TRUE(copy_out(context, got.data(), twice.data(), got.size()));
    for (size_t at = 0; at < kBytes; at += kUnit) {
      const size_t run = std::min(kUnit, kBytes - at);
      ASSERT_EQ(std::memcmp(got.data() + 2 * at, host.data() + at, run), 0) << at;
      ASSERT_EQ(std::memcmp(got.data() + 2 * at + kUnit, host.data() + at, run), 0) << at;
    }
    got.assign(kBytes, 0);
    const auto fails = [](auto...) { return Status(make_error(ErrorCode::kIo, "gone")); };
    const Status failed = cuda::make_staged(context, {target.data(), kUnit, kUnit}, kBytes, fails);
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().message, "gone");
  }
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
