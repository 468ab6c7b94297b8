// Copies from one made-up card to the other: in the order of both, whatever the side streams do
// first.
#include "core/device_link.h"

#include <gtest/gtest.h>

#include <vector>

#include "core/memory.h"
#include "device/double/device_double.h"
#include "pipeline/device.h"

namespace intaglio {
namespace {

using test::DeviceDouble;
using test::SideOrder;

constexpr size_t kValues = 1000, kBytes = kValues * sizeof(float);

// Values come and go at one place of each card, three times over, without a wait of the host.
TEST(DeviceLink, CopiesAreInTheOrderOfBothStreams) {
  for (const SideOrder order : {SideOrder::kSideLast, SideOrder::kSideFirst}) {
    for (const bool peers : {true, false}) {
      for (const int second : {1, 0}) {
        DeviceDouble::instance().restart(order);
        DeviceDouble::instance().set_peers(peers);
        const DeviceContext there = *open_device(second, 1), here = *open_device(0, 1);
        const auto forward = *make_device_link(here.context, there.context, kBytes);
        const auto backward = *make_device_link(there.context, here.context, kBytes);
        const AlignedBuffer source = *allocate(here.context, kBytes);
        std::vector<AlignedBuffer> back(3);
        for (AlignedBuffer& buffer : back) buffer = *allocate(here.context, kBytes);
        AlignedBuffer away;
        ASSERT_TRUE(on_device(there.context, here.context, [&]() -> Status {
          INTAGLIO_ASSIGN(away, allocate(there.context, kBytes));
          return {};
        }));
        for (size_t i = 0; i < back.size(); ++i) {
          const std::vector<float> values(kValues, static_cast<float>(i));
          ASSERT_TRUE(copy_in(here.context, source.data(), values.data(), kBytes));
          ASSERT_TRUE(forward->copy(away.data(), source.data(), kBytes));
          ASSERT_TRUE(backward->copy(back[i].data(), away.data(), kBytes));
        }
        for (size_t i = 0; i < back.size(); ++i) {
          std::vector<float> values(kValues);
          ASSERT_TRUE(copy_out(here.context, values.data(), back[i].data(), kBytes));
          EXPECT_EQ(values, std::vector<float>(kValues, static_cast<float>(i)));
        }
      }
    }
  }
}

// Sends alone: what is on its way is not overwritten by what follows.
TEST(DeviceLink, ACopyIsReadBeforeTheNextOneIsWritten) {
  for (const SideOrder order : {SideOrder::kSideLast, SideOrder::kSideFirst}) {
    for (const bool peers : {true, false}) {
      DeviceDouble::instance().restart(order);
      DeviceDouble::instance().set_peers(peers);
      const DeviceContext there = *open_device(1, 1), here = *open_device(0, 1);
      const auto forward = *make_device_link(here.context, there.context, kBytes);
      const std::vector<float> first(kValues, 1.0f), second(kValues, 2.0f);
      const AlignedBuffer sources[] = {*upload(here.context, first), *upload(here.context, second)};
      AlignedBuffer targets[2];
      ASSERT_TRUE(on_device(there.context, here.context, [&]() -> Status {
        for (AlignedBuffer& target : targets) {
          INTAGLIO_ASSIGN(target, allocate(there.context, kBytes));
        }
        return {};
      }));
      for (size_t i = 0; i < 2; ++i)
        ASSERT_TRUE(forward->copy(targets[i].data(), sources[i].data(), kBytes));
      std::vector<float> values(kValues);
      for (size_t i = 0; i < 2; ++i) {
        ASSERT_TRUE(copy_out(there.context, values.data(), targets[i].data(), kBytes));
        EXPECT_EQ(values, i == 0 ? first : second);
      }
    }
  }
}

TEST(DeviceLink, NeedsTwoOfAKind) {
  const DeviceContext gpu = *open_device(0, 1), cpu = *open_device(std::nullopt, 1);
  EXPECT_FALSE(make_device_link(gpu.context, cpu.context, kBytes));
  EXPECT_FALSE(make_device_link(cpu.context, gpu.context, kBytes));
}

}  // namespace
}  // namespace intaglio
