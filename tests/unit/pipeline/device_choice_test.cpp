// Names of devices, as --devices takes them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "pipeline/device.h"

namespace intaglio {
namespace {

using testing::StartsWith;

std::string refusal(const char* text, Parallel parallel = Parallel::kOff) {
  const auto choice = devices_from_names("--devices", text, parallel);
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

TEST(DeviceChoice, GpusThatSharePasses) {
  const auto choice = devices_from_names("--devices", "2,cuda:0,1", Parallel::kUlysses).value();
  EXPECT_EQ(choice.gpu, 2);
  EXPECT_EQ(choice.second_gpu, std::nullopt);
  EXPECT_EQ(choice.rank_gpus, (std::vector<int>{0, 1}));
  EXPECT_EQ(
      devices_from_names("--devices", "0,1,2,3,4,5,6,7", Parallel::kUlysses)->rank_gpus.size(), 7u);
  for (const char* one : {"0", "cuda:1", "cpu", "cuda"})
    EXPECT_EQ(refusal(one, Parallel::kUlysses),
              "--devices: expected two GPUs or more, such as 0,1, which share each pass "
              "(--parallel ulysses)")
        << one;
  EXPECT_EQ(refusal("0,1,2,0", Parallel::kUlysses),
            "--devices: expected different GPUs, found cuda:0 twice");
  EXPECT_EQ(refusal("0,1,2,3,4,5,6,7,8", Parallel::kUlysses), "--devices: 9 GPUs, at most 8");
}

TEST(DeviceChoice, HalfOfTheGpusShareAPass) {
  const auto choice =
      devices_from_names("--devices", "2,cuda:0,1,5,4,3", Parallel::kCfgUlysses).value();
  EXPECT_EQ(choice.gpu, 2);
  EXPECT_EQ(choice.rank_gpus, (std::vector<int>{0, 1}));
  EXPECT_EQ(choice.second_gpu, 5);
  EXPECT_EQ(choice.second_rank_gpus, (std::vector<int>{4, 3}));
  for (const auto& [odd, found] :
       {std::pair{"cpu", "1"}, {"1", "1"}, {"0,1", "2"}, {"0,1,2", "3"}, {"0,1,2,3,4", "5"}})
    EXPECT_EQ(refusal(odd, Parallel::kCfgUlysses),
              "--devices: expected 4, 6 or 8 GPUs, such as 0,1,2,3, half of which share each of "
              "two passes (--parallel cfg+ulysses), found " +
                  std::string(found));
}

TEST(DeviceChoice, GpusOfWhichAPictureDecides) {
  const auto choice = devices_from_names("--devices", "2,cuda:0,1", Parallel::kAuto).value();
  EXPECT_EQ(choice.gpu, 2);
  EXPECT_EQ(choice.undecided, (std::vector<int>{0, 1}));
  EXPECT_EQ(choice.second_gpu, std::nullopt);
  EXPECT_TRUE(choice.rank_gpus.empty());
  for (const char* one : {"1", "cuda:1"}) {
    const auto alone = devices_from_names("--devices", one, Parallel::kAuto).value();
    EXPECT_EQ(alone.gpu, 1);
    EXPECT_TRUE(alone.undecided.empty());
  }
}

TEST(DeviceChoice, NamesOfParallel) {
  EXPECT_EQ(parallel_from_name("--parallel", "off").value(), Parallel::kOff);
  EXPECT_EQ(parallel_from_name("--parallel", "ulysses").value(), Parallel::kUlysses);
  EXPECT_EQ(parallel_from_name("--parallel", "cfg+ulysses").value(), Parallel::kCfgUlysses);
  EXPECT_EQ(parallel_from_name("--parallel", "auto").value(), Parallel::kAuto);
  EXPECT_EQ(parallel_from_name("--parallel", "ring").error().message,
            "--parallel: expected off, ulysses, cfg+ulysses or auto, found \"ring\"");
}

}  // namespace
}  // namespace intaglio
