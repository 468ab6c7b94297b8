#include "eval/step_trace.h"

#include <gtest/gtest.h>

#include <memory>

#include "core/philox.h"
#include "core/relative_error.h"
#include "models/registry.h"
#include "support/source_folder.h"

namespace intaglio {
namespace {

class StepTraceTest : public testing::Test {
 protected:
  void SetUp() override {
    context_.cpu = host_cpu_features();
    context_.threads = 2;
    model_ =
        open_model(ModelPaths{.folder = test::source_path("tests/reference/data/tiny")}).value();
  }

  struct Loaded {
    std::unique_ptr<PassRunner> runner;
    std::vector<PassRunner::Texts> texts;
  };
  Loaded load(Precision precision, int64_t steps = 3) {
    Loaded loaded;
    loaded.runner = std::make_unique<PassRunner>(
        context_, *model_, TransformerOptions{.selection = {.precision = precision}});
    const ModelInfo& info = model_->info();
    const PictureRequest request{.prompt = "a red fox",
                                 .negative_prompt = {},
                                 .token_ids = {},
                                 .width = 64,
                                 .height = 64,
                                 .steps = steps,
                                 .guidance = info.default_guidance.of_steps(steps),
                                 .mu = info.default_mu,
                                 .std = info.default_std,
                                 .max_sequence_length = {},
                                 .noise = {}};
    loaded.texts = loaded.runner->load({&request, 1}).value();
    return loaded;
  }
  std::vector<float> noise(const Loaded& loaded) const {
    std::vector<float> values(static_cast<size_t>(loaded.texts[0].grid_h * loaded.texts[0].grid_w *
                                                  model_->info().latent_channels));
    fill_normal(1, values.data(), static_cast<int64_t>(values.size()));
    return values;
  }
  Expected<StepTrace> trace(Loaded& source, Loaded& candidate) {
    return trace_steps(*source.runner, source.texts[0], *candidate.runner, candidate.texts[0],
                       noise(source));
  }
  // Latents behind the last step.
  std::vector<float> draw(Loaded& loaded) {
    const PassRunner::Texts& texts = loaded.texts[0];
    PassRunner::Picture picture = loaded.runner->prepare(texts, times_of(texts.sampling)).value();
    std::vector<float> x = noise(loaded);
    for (size_t s = 0; s < texts.sampling.steps.size(); ++s) {
      const SamplingStep& step = texts.sampling.steps[s];
      std::vector<float> velocity(x.size());
      for (size_t pass = 0; pass < step.weights.size(); ++pass) {
        if (step.weights[pass] == 0.0f) continue;
        EXPECT_TRUE(loaded.runner->forward(picture, pass, static_cast<int64_t>(s), x));
        for (size_t i = 0; i < x.size(); ++i)
          velocity[i] += step.weights[pass] * picture.velocities[pass][i];
      }
      for (size_t i = 0; i < x.size(); ++i) x[i] -= step.delta * velocity[i];
    }
    return x;
  }

  Context context_;
  std::shared_ptr<const Model> model_;
};

TEST_F(StepTraceTest, OfItselfIsExact) {
  Loaded source = load(Precision::kInt8), same = load(Precision::kInt8);
  const auto traced = trace(source, same);
  ASSERT_TRUE(traced) << traced.error().message;
  EXPECT_EQ(traced->velocity, std::vector<double>(3, 0.0));
  EXPECT_EQ(traced->drift, std::vector<double>(3, 0.0));
  ASSERT_FALSE(traced->linears.empty());
  for (const LinearTrace& linear : traced->linears) {
    ASSERT_EQ(linear.output.size(), 3u);
    for (const auto& error : linear.output) EXPECT_EQ(error.value_or(0.0), 0.0);
  }
}

TEST_F(StepTraceTest, HasAnErrorOfEveryLinearAndStep) {
  Loaded source = load(Precision::kFp32), candidate = load(Precision::kInt8);
  const auto traced = trace(source, candidate);
  ASSERT_TRUE(traced) << traced.error().message;
  size_t linears = 0;
  for (const auto& transformer : source.runner->transformers())
    linears += transformer->named_linears().size();
  EXPECT_EQ(traced->linears.size(), linears);
  for (const LinearTrace& linear : traced->linears) {
    SCOPED_TRACE(linear.transformer + " " + linear.names.front());
    ASSERT_EQ(linear.output.size(), 3u);
    ASSERT_TRUE(linear.output.front());
    // The text is projected once a picture.
    EXPECT_EQ(linear.output.back().has_value(), linear.names.front() != "llm_cond_proj");
    for (const auto& error : linear.output) {
      if (!error) continue;
      // int8 rows are a few thousandths off by themselves; errors of layers before it add up.
      EXPECT_GT(*error, 1e-3);
      EXPECT_LT(*error, 0.2);
    }
  }
  for (const double error : traced->velocity) {
    EXPECT_GT(error, 1e-4);
    EXPECT_LT(error, 0.1);
  }
}

// Each of two models by itself, from the same noise, ends where the trace says that it drifts to.
TEST_F(StepTraceTest, DriftIsThatOfWholePictures) {
  Loaded source = load(Precision::kFp32), candidate = load(Precision::kInt8);
  const auto traced = trace(source, candidate);
  ASSERT_TRUE(traced);
  EXPECT_EQ(traced->drift.back(), relative_error(draw(candidate), draw(source)));
  EXPECT_GT(traced->drift.front(), 0.0);
}

TEST_F(StepTraceTest, RefusesOtherSteps) {
  Loaded source = load(Precision::kFp32, 3), candidate = load(Precision::kFp32, 4);
  const auto refused = trace(source, candidate);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(refused.error().message, "their steps differ");
}

}  // namespace
}  // namespace intaglio
