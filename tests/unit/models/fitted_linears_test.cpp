#include "models/fitted_linears.h"

#include <gtest/gtest.h>

#include <cmath>
#include <tuple>
#include <vector>

namespace intaglio {
namespace {

class ProtectTest : public testing::Test {
 protected:
  void SetUp() override {
    // Error, gain, growth: shares of 0.04, 0.03, 0.02 and 0.001.
    for (const auto& [error, gain, growth] :
         {std::tuple{0.04, 1.0, uint64_t{400}}, std::tuple{0.01, 3.0, uint64_t{100}},
          std::tuple{0.02, 1.0, uint64_t{200}}, std::tuple{0.1, 0.01, uint64_t{10}}}) {
      FittedLinear one;
      one.error = error;
      one.gain = gain;
      one.growth = growth;
      linears_.push_back(std::move(one));
    }
    for (FittedLinear& one : linears_) all_.push_back(&one);
  }
  std::vector<bool> protected_ones() const {
    std::vector<bool> found;
    for (const FittedLinear& one : linears_) found.push_back(one.is_protected);
    return found;
  }
  std::vector<FittedLinear> linears_;
  std::vector<FittedLinear*> all_;
};

TEST_F(ProtectTest, ByErrorAllAboveIt) {
  ASSERT_TRUE(protect(all_, {.error = 0.02}, 1000));
  EXPECT_EQ(protected_ones(), (std::vector<bool>{true, false, false, true}));
}

// What a byte takes off the squared error: 9e-6 of the second, 4e-6 of the first, 2e-6 of the
// third, 1e-7 of the last. The first does not fit behind the second, smaller ones do.
TEST_F(ProtectTest, ByBytesWhatIsWorthMostAndFits) {
  ASSERT_TRUE(protect(all_, {.bytes = 1499}, 1000));
  EXPECT_EQ(protected_ones(), (std::vector<bool>{false, true, true, true}));
  EXPECT_NEAR(velocity_error(linears_), 0.04, 1e-12);
}

TEST_F(ProtectTest, ByBytesNoneWhereThereIsNoRoom) {
  ASSERT_TRUE(protect(all_, {.bytes = 1000}, 1000));
  EXPECT_EQ(protected_ones(), std::vector<bool>(4, false));
  EXPECT_NEAR(velocity_error(linears_), std::sqrt(0.0016 + 0.0009 + 0.0004 + 1e-6), 1e-12);
}

TEST_F(ProtectTest, RefusesABudgetBelowTheFile) {
  const Status refused = protect(all_, {.bytes = 999}, 1000);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(refused.error().message.find("999"), std::string::npos);
}

}  // namespace
}  // namespace intaglio
