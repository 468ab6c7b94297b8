// Names of devices, as --devices takes them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "pipeline/device.h"

namespace intaglio {
namespace {

using testing::StartsWith;

std::string refusal(const char* text) {
  const auto choice = devices_from_names("--devices", text);
  EXPECT_FALSE(choice) << text;
  return choice ? "" : choice.error().message;
}

TEST(DeviceChoice, OneOrTwoGpus) {
  for (const char* one : {"2", "cuda:2"}) {
    const auto choice = devices_from_names("--devices", one).value();
    EXPECT_EQ(choice.gpu, 2);
    EXPECT_EQ(choice.second_gpu, std::nullopt);
  }
  for (const char* two : {"1,0", "cuda:1,cuda:0", "1,cuda"}) {
    const auto choice = devices_from_names("--devices", two).value();
    EXPECT_EQ(choice.gpu, 1);
    EXPECT_EQ(choice.second_gpu, 0);
  }
  EXPECT_EQ(devices_from_names("--devices", "cpu").value().gpu, std::nullopt);
}

TEST(DeviceChoice, WhatIsNoTwoGpusIsRefused) {
  EXPECT_EQ(refusal("0,0"), "--devices: expected two GPUs, found cuda:0 twice");
  EXPECT_EQ(refusal("0,cuda"), "--devices: expected two GPUs, found cuda:0 twice");
  EXPECT_THAT(refusal("0,1,2"), StartsWith("--devices: 3 GPUs, at most 2"));
  for (const char* mixed : {"0,cpu", "cpu,0", "0,auto", "0,", ",", "0,-1", "0,1x", "0 ,1"})
    EXPECT_THAT(refusal(mixed), StartsWith("--devices: expected GPUs alone, such as 0,1, found"))
        << mixed;
  EXPECT_THAT(refusal(""), StartsWith("--devices: expected "));
  EXPECT_THAT(refusal("gpu"), StartsWith("--devices: expected "));
}

}  // namespace
}  // namespace intaglio
