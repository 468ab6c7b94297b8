// Each test finds the made-up card as new: what the one before asked of it is over.
#include <gtest/gtest.h>

#include "device_double.h"

namespace intaglio::test {
namespace {

class FreshDevice : public testing::EmptyTestEventListener {
  void OnTestStart(const testing::TestInfo&) override {
    DeviceDouble& device = DeviceDouble::instance();
    device.restart();
    device.set_capacity(DeviceDouble::kCapacity);
  }
};

[[maybe_unused]] const bool is_listening = [] {
  testing::UnitTest::GetInstance()->listeners().Append(new FreshDevice);
  return true;
}();

}  // namespace
}  // namespace intaglio::test
