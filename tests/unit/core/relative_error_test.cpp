#include "core/relative_error.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace intaglio {
namespace {

double error_of(const std::vector<float>& a, const std::vector<float>& b) {
  return relative_error(a, b);
}

TEST(RelativeError, SeesNanAndSize) {
  EXPECT_EQ(error_of({1, 2}, {1, 2}), 0.0);
  EXPECT_TRUE(std::isinf(error_of({1, NAN}, {1, 2})));
  EXPECT_TRUE(std::isinf(error_of({1}, {1, 2})));
  EXPECT_NEAR(error_of({3.0f, 4.1f}, {3.0f, 4.0f}), 0.1 / 5.0, 1e-7);
  EXPECT_EQ(error_of({0.5f}, {0.0f}), 0.5);
}

}  // namespace
}  // namespace intaglio
