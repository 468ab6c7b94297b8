// Walks the list of a small op (ops/op_list.h).
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "ops/op_list.h"
#include "support/tested_cpus.h"

namespace intaglio::test {

// test(implementation, context) for those that take `op` on this machine, at every level it has.
template <typename Op, typename Test>
void each_implementation(OpList<Op> list, const Op& op, Test&& test) {
  for (const CpuFeatures& cpu : tested_cpus()) {
    const Context context{.threads = 2, .cpu = cpu};
    int ran = 0;
    for (const OpImplementation<Op>& implementation : list) {
      if (refuse_device(implementation.device, context) != nullptr ||
          implementation.can_run(op, context) != nullptr)
        continue;
      SCOPED_TRACE(std::string(implementation.name) + " at " + std::string(cpu_isa_name(cpu.isa)));
      test(implementation, context);
      ++ran;
    }
    EXPECT_GE(ran, 2);  // the reference is one of them
  }
}

template <typename Op, typename Test>
void each_implementation(OpList<Op> list, Test&& test) {
  each_implementation(list, Op{}, test);
}

}  // namespace intaglio::test
