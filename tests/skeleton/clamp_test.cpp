// What is registered is tested: every implementation, at every level and on a GPU, bit for bit.
#include "skeleton/clamp.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "ops/each_implementation.h"

namespace intaglio::skeleton {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

// By what the contract says, not by the reference.
std::vector<float> values(int64_t count) {
  std::vector<float> x(static_cast<size_t>(count));
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 41) * 0.1f - 2.0f;
  const float odd[] = {std::nanf(""), kInf, -kInf, -0.0f, 1e-44f};
  for (size_t i = 0; i < std::size(odd) && i < x.size(); ++i) x[x.size() - 1 - i] = odd[i];
  return x;
}

float expected(float x, float low, float high) {
  return std::isnan(x) ? x : std::fmin(std::fmax(x, low), high);
}

TEST(Clamp, EveryImplementationKeepsTheContract) {
  // Nothing, below, at and above a grain of a thread.
  for (const int64_t count : {0, 1, 3, 17, 16384, 40001}) {
    const std::vector<float> before = values(count);
    for (const auto& [low, high] : {std::pair{-1.0f, 1.0f}, {0.5f, 0.5f}, {-kInf, kInf}}) {
      test::each_implementation(clamp_implementations(), [&, low = low, high = high](
                                                             const auto& op,
                                                             const Context& context) {
        std::vector<float> x = before;
        test::Operands on(context);
        ASSERT_TRUE(op.run(context, {on.out(x.data(), x.size()), count, low, high}));
        on.fetch();
        for (size_t i = 0; i < x.size(); ++i) {
          const float e = expected(before[i], low, high);
          ASSERT_TRUE(std::isnan(e) ? std::isnan(x[i])
                                    : std::bit_cast<uint32_t>(x[i]) == std::bit_cast<uint32_t>(e))
              << i << ": " << x[i] << " of " << before[i] << ", expected " << e;
        }
      });
    }
  }
}

TEST(Clamp, RefusalsNameTheField) {
  const auto problem = [](const Clamp& op) {
    const Status status = clamp({}, op);
    return status ? std::string() : status.error().message;
  };
  float x = 0.0f;
  EXPECT_EQ(problem({&x, 1}), "");
  EXPECT_EQ(problem({}), "");
  EXPECT_EQ(problem({&x, -1}), "clamp: -1 values; expected 0 or more");
  EXPECT_EQ(problem({nullptr, 1}), "clamp: x is null");
  EXPECT_EQ(problem({&x, 1, 1.0f, 0.0f}), "clamp: limits 1 to 0; expected low <= high");
  EXPECT_EQ(problem({&x, 1, std::nanf(""), 1.0f}), "clamp: limits nan to 1; expected low <= high");
}

}  // namespace
}  // namespace intaglio::skeleton
