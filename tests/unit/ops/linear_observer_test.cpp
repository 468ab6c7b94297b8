#include "ops/linear_observer.h"

#include <gtest/gtest.h>

#include <vector>

#include "core/arena.h"

namespace intaglio {
namespace {

// Doubles what a linear reads of note, and what it writes.
class Doubling : public LinearObserver {
 public:
  Status before(const Context&, const LinearWeights&, const LinearCall& call) override {
    seen.push_back(*call.x.as<float>());
    return stop ? Status(make_error(ErrorCode::kCancelled, "stopped")) : Status();
  }
  Status after(const Context&, const LinearWeights& weights, const LinearCall& call) override {
    for (int64_t i = 0; i < weights.out_cols(); ++i) static_cast<float*>(call.out)[i] *= 2.0f;
    return {};
  }
  std::vector<float> seen;
  bool stop = false;
};

class LinearObserverTest : public testing::Test {
 protected:
  void SetUp() override {
    context_.cpu = host_cpu_features();
    const TensorView w{values_, DType::kF32, Shape{2, 2}};
    weights_ = make_linear(context_, LinearKind::kF32, GemmEpilogue::kNone,
                           {.parts = float_parts(std::span(&w, 1))})
                   .value();
    arena_ = Arena::with_capacity(linear_scratch_bytes(context_, weights_, 1, DType::kF32)).value();
    context_.scratch = &arena_;
  }
  Status run() {
    return linear(context_, weights_, {.data = x_, .rows = 1, .cols = 2}, y_, DType::kF32, 2);
  }

  float values_[4] = {1.0f, 2.0f, 3.0f, 4.0f};
  float x_[2] = {5.0f, 7.0f};
  float y_[2] = {0.0f, 0.0f};
  Context context_;
  Arena arena_;
  LinearWeights weights_;
};

TEST_F(LinearObserverTest, SeesInputsAndMayChangeOutputs) {
  Doubling doubling;
  {
    const ObservedLinears observed(doubling);
    ASSERT_TRUE(run());
    EXPECT_EQ(y_[0], 38.0f);
    EXPECT_EQ(y_[1], 86.0f);
    doubling.stop = true;
    const Status stopped = run();
    ASSERT_FALSE(stopped);
    EXPECT_EQ(stopped.error().code, ErrorCode::kCancelled);
  }
  // Nobody looks any more.
  ASSERT_TRUE(run());
  EXPECT_EQ(y_[0], 19.0f);
  EXPECT_EQ(doubling.seen, (std::vector<float>{5.0f, 5.0f}));
}

TEST_F(LinearObserverTest, TheInnerOneStandsForTheOuter) {
  Doubling outer, inner;
  const ObservedLinears observed(outer);
  {
    const ObservedLinears within(inner);
    ASSERT_TRUE(run());
  }
  ASSERT_TRUE(run());
  EXPECT_EQ(outer.seen.size(), 1u);
  EXPECT_EQ(inner.seen.size(), 1u);
}

}  // namespace
}  // namespace intaglio
