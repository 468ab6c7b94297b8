// What the tests of flat kernels share: values with a NaN among them, counts at every edge.
#pragma once

#include "row_emulation.h"
// Kernels after the emulation, which defines what they are written in.
#include "ops/cuda/kernels/elementwise.cuh"

namespace intaglio::cuda {

inline int64_t blocks_for(int64_t count) {
  return (count + kElementsOfBlock - 1) / kElementsOfBlock;
}

class EmulatedElements : public testing::Test {
 protected:
  template <typename T>
  void fill(Memory<T>& x, float size = 1.0f) {
    for (int64_t i = 0; i < x.count(); ++i) x[i] = T(size * normal_value(random_));
    if (x.count() > 5) x[x.count() - 2] = T(std::nanf(""));
  }
  // Counts at the edges of a piece and of a block, aligned or not.
  template <typename Check>
  void each_count(Check&& check) {
    for (int64_t count : {1, 3, 4, 7, 4095, 4096, 4099, 9000}) {
      for (int shift : {0, 1}) {
        SCOPED_TRACE(testing::Message() << count << " shifted by " << shift);
        check(count, shift);
      }
    }
  }

  std::mt19937 random_{3};
};

inline void expect_bits(float got, float expected, int64_t i) {
  if (std::isnan(expected)) {
    ASSERT_TRUE(std::isnan(got)) << i;
  } else {
    ASSERT_EQ(got, expected) << i;
  }
}

}  // namespace intaglio::cuda
