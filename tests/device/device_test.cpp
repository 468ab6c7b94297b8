// What is said of a card that is not there.
#include "core/cuda/device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace intaglio::cuda {
namespace {

using testing::HasSubstr;

TEST(Device, SaysWhyThereIsNone) {
  EXPECT_EQ(why_no_device(0, 13000), "there is no NVIDIA driver on this machine");
  EXPECT_EQ(why_no_device(12040, 13000),
            "the NVIDIA driver is too old: it is for CUDA up to 12.4, expected 13.0 or newer");
  EXPECT_EQ(why_no_device(13000, 13010), "the NVIDIA driver finds no GPU");
}

TEST(Device, SaysWhichIsTheLast) {
  EXPECT_TRUE(find_device(1).has_value());
  EXPECT_THAT(find_device(2).error().message,
              HasSubstr("cuda:2: the last of this machine's GPUs is cuda:1"));
}

}  // namespace
}  // namespace intaglio::cuda
