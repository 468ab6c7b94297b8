// Every place an op is tested at: the processor's instruction sets, and a GPU where there is one,
// which is a card or the made-up one of tests/device/double. A program of tests for GPUs
// (INTAGLIO_TESTS_NEED_GPU) leaves the processor to intaglio_tests.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "pipeline/device.h"
#include "support/tested_cpus.h"

namespace intaglio::test {

// test(context, name).
template <typename Test>
void each_device(Test&& test) {
#if !defined(INTAGLIO_TESTS_NEED_GPU)
  for (const CpuFeatures& cpu : tested_cpus())
    test(Context{.threads = 2, .cpu = cpu}, std::string(cpu_isa_name(cpu.isa)));
#endif
  const std::optional<int> gpu = default_gpu();
#if defined(INTAGLIO_TESTS_NEED_GPU)
  ASSERT_TRUE(gpu) << "these tests are to run on a GPU";
#endif
  if (!gpu) return;
  const Expected<DeviceContext> device = open_device(gpu, 2);
  ASSERT_TRUE(device) << device.error().message;
  test(device->context, device_name(device->context));
}

}  // namespace intaglio::test
