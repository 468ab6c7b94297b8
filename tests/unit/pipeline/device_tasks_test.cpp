// Work for several devices at once: who ends whom.
#include "pipeline/device_tasks.h"

#include <gtest/gtest.h>

#include <chrono>
#include <stdexcept>
#include <thread>
#include <vector>

namespace intaglio {
namespace {

// Until its context's flag is set, as a pass between its layers.
Status run_until_stopped(const Context& context) {
  while (check_cancelled(context)) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return check_cancelled(context);
}

struct DeviceTasks : testing::Test {
  std::atomic<bool> stop{false}, cancel{false};
  Context first, second;

  void SetUp() override { first.cancel = second.cancel = &stop; }
};

TEST_F(DeviceTasks, AllRun) {
  std::atomic<int> ran = 0;
  const auto count = [&] {
    ++ran;
    return Status();
  };
  const std::vector<DeviceTask> tasks{{&first, count}, {&second, count}};
  EXPECT_TRUE(run_on_devices(tasks, nullptr, stop));
  EXPECT_EQ(ran, 2);
  EXPECT_FALSE(stop);
}

TEST_F(DeviceTasks, AFailureEndsTheOthersAndIsTold) {
  const auto fail = [] { return Status(make_error(ErrorCode::kDevice, "it fell off")); };
  const std::vector<DeviceTask> last{{&first, [&] { return run_until_stopped(first); }},
                                     {&second, fail}};
  const std::vector<DeviceTask> front{{&first, fail},
                                      {&second, [&] { return run_until_stopped(second); }}};
  for (const auto& tasks : {last, front}) {
    stop = false;
    const Status done = run_on_devices(tasks, nullptr, stop);
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code, ErrorCode::kDevice);
    EXPECT_EQ(done.error().message, "it fell off");
  }
}

TEST_F(DeviceTasks, TheCallersFlagEndsAll) {
  const std::vector<DeviceTask> tasks{{&first, [&] { return run_until_stopped(first); }},
                                      {&second, [&]() -> Status {
                                         cancel = true;
                                         return run_until_stopped(second);
                                       }}};
  const Status done = run_on_devices(tasks, &cancel, stop);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, ErrorCode::kCancelled);
}

TEST_F(DeviceTasks, AnExceptionEndsTheOthersAndIsTheCallers) {
  const std::vector<DeviceTask> tasks{
      {&first, [&] { return run_until_stopped(first); }},
      {&second, []() -> Status { throw std::runtime_error("no memory"); }}};
  EXPECT_THROW(static_cast<void>(run_on_devices(tasks, nullptr, stop)), std::runtime_error);
}

}  // namespace
}  // namespace intaglio
