// Walks the list of a small op (ops/op_list.h): what is registered is tested.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "ops/op_list.h"
#include "support/operands.h"
#include "support/tested_devices.h"

namespace intaglio::test {

// test(implementation, context) for those that take `op`, at every level of this machine's
// processor and on its GPU, where pointers must be the GPU's (support/operands.h).
template <typename Op, typename Test>
void each_implementation(OpList<Op> list, const Op& op, Test&& test) {
  each_device([&](const Context& context, const std::string& device) {
    int ran = 0;
    for (const OpImplementation<Op>& implementation : list) {
      if (refuse_device(implementation.device, context) != nullptr ||
          implementation.can_run(op, context) != nullptr)
        continue;
      SCOPED_TRACE(std::string(implementation.name) + " at " + device);
      test(implementation, context);
      ++ran;
    }
    // On the CPU the reference is one of them.
    EXPECT_GE(ran, context.gpu != nullptr ? 1 : 2) << device;
  });
}

template <typename Op, typename Test>
void each_implementation(OpList<Op> list, Test&& test) {
  each_implementation(list, Op{}, test);
}

}  // namespace intaglio::test
