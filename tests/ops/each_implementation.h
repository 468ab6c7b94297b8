// Walks the list of an op: what is registered is tested.
#pragma once

#include <gtest/gtest.h>

#include <span>
#include <string>

#include "ops/op_list.h"
#include "support/operands.h"
#include "support/tested_devices.h"

namespace intaglio::test {

// test(implementation, context) for those of `list` that take `desc` where `context` is.
template <typename Implementation, typename Desc, typename Test>
void each_taker(std::span<const Implementation> list, const Desc& desc, const Context& context,
                const std::string& device, int at_least, Test&& test) {
  int ran = 0;
  for (const Implementation& implementation : list) {
    if (refuse_device(implementation.device, context) != nullptr ||
        implementation.can_run(desc, context) != nullptr)
      continue;
    SCOPED_TRACE(std::string(implementation.name) + " at " + device);
    test(implementation, context);
    ++ran;
  }
  EXPECT_GE(ran, at_least) << device;
}

// The same at every level of this machine's processor and on its GPU, where pointers must be the
// GPU's (support/operands.h). No device may have a hole.
template <typename Implementation, typename Desc, typename Test>
void each_implementation(std::span<const Implementation> list, const Desc& desc, Test&& test) {
  each_device([&](const Context& context, const std::string& device) {
    each_taker(list, desc, context, device, 1, test);
  });
}

// Of a small op (ops/op_list.h), whose reference is one of two at least on a processor.
template <typename Op, typename Test>
void each_implementation(OpList<Op> list, const Op& op, Test&& test) {
  each_device([&](const Context& context, const std::string& device) {
    each_taker(list, op, context, device, context.gpu != nullptr ? 1 : 2, test);
  });
}

template <typename Op, typename Test>
void each_implementation(OpList<Op> list, Test&& test) {
  each_implementation(list, Op{}, test);
}

}  // namespace intaglio::test
