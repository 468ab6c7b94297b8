#include "models/calibration.h"

#include <gtest/gtest.h>

#include <cmath>

#include "models/registry.h"
#include "support/source_folder.h"

namespace intaglio {
namespace {

class CalibrationTest : public testing::Test {
 protected:
  Expected<Calibration> run(const CalibrationOptions& options, int threads = 2) {
    Context context;
    context.cpu = host_cpu_features();
    context.threads = threads;
    context.cancel = &stop_;
    const auto model =
        open_model(ModelPaths{.folder = test::source_path("tests/reference/data/tiny")}).value();
    passes_ = {};
    return calibrate(context, *model, options, [&](int64_t done, int64_t all) {
      EXPECT_LE(done, all);
      EXPECT_GE(done, passes_.first);
      passes_ = {done, all};
      if (done == stop_at_) stop_ = true;
    });
  }
  CalibrationOptions options_{.prompts = {"a red fox", "a"}, .steps = 3, .width = 64, .height = 64};
  std::atomic<bool> stop_ = false;
  int64_t stop_at_ = -1;
  std::pair<int64_t, int64_t> passes_;
};

TEST_F(CalibrationTest, SeesEveryQuantizedLinearOfBothTransformers) {
  options_.rows = 20;
  const auto calibration = run(options_);
  ASSERT_TRUE(calibration) << calibration.error().message;
  ASSERT_EQ(calibration->transformers.size(), 2u);
  for (const auto& linears : calibration->transformers) {
    ASSERT_FALSE(linears.empty());
    for (const CalibratedLinear& one : linears) {
      SCOPED_TRACE(one.linear.names.front());
      const auto k = static_cast<size_t>(one.linear.k);
      EXPECT_GT(one.seen, 0);
      EXPECT_EQ(one.kept, std::min<int64_t>(20, one.seen));
      ASSERT_EQ(one.rows.size(), static_cast<size_t>(one.kept) * k);
      ASSERT_EQ(one.absmax.size(), k);
      for (size_t i = 0; i < one.rows.size(); ++i)
        ASSERT_LE(std::fabs(one.rows[i]), one.absmax[i % k]);
      EXPECT_GT(one.gain, 0.0);
      EXPECT_NE(one.linear.input_scale.of, InputScale::Of::kNothing);
      EXPECT_EQ(one.linear.weights, nullptr);
    }
  }
  // 2 pictures of 3 steps of 2 passes, 2 more, and one a linear.
  EXPECT_EQ(passes_.first, passes_.second);
  // All rows of the blocks are seen: 2 pictures, 3 steps.
  const CalibratedLinear& last = calibration->transformers[1].back();
  EXPECT_EQ(last.seen % (2 * 3), 0);
}

TEST_F(CalibrationTest, IsTheSameWithAnyThreads) {
  const auto one = run(options_, 1), three = run(options_, 3);
  ASSERT_TRUE(one && three);
  for (size_t t = 0; t < one->transformers.size(); ++t) {
    for (size_t i = 0; i < one->transformers[t].size(); ++i) {
      EXPECT_EQ(one->transformers[t][i].absmax, three->transformers[t][i].absmax);
      EXPECT_EQ(one->transformers[t][i].rows, three->transformers[t][i].rows);
      EXPECT_EQ(one->transformers[t][i].gain, three->transformers[t][i].gain);
    }
  }
}

TEST_F(CalibrationTest, StopsWhenItIsAsked) {
  stop_at_ = 4;
  const auto stopped = run(options_);
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, ErrorCode::kCancelled);
  EXPECT_EQ(passes_.first, 4);
}

TEST_F(CalibrationTest, RefusesWhatCannotBeDrawn) {
  for (CalibrationOptions wrong :
       {CalibrationOptions{.prompts = {}}, CalibrationOptions{.prompts = {"a"}, .width = 100},
        CalibrationOptions{.prompts = {"a"}, .steps = 0}}) {
    const auto refused = run(wrong);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace intaglio
