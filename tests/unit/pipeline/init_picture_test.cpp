// Pictures that begin from another. What their latents are, step by step, is held by the cases
// pipeline_init_* of `verify`.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/relative_error.h"
#include "io/safetensors.h"
#include "pipeline/init_latents.h"
#include "pipeline/pipeline.h"
#include "support/source_folder.h"
#include "support/temp_folder.h"

namespace intaglio {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

constexpr int64_t kWidth = 48, kHeight = 32, kSteps = 5;

InitPicture some_picture() {
  InitPicture init;
  init.image = {.width = kWidth, .height = kHeight, .pixels = {}};
  for (int64_t i = 0; i < 3 * kWidth * kHeight; ++i)
    init.image.pixels.push_back(static_cast<uint8_t>(i * 37 % 251));
  return init;
}

class InitPipeline : public testing::Test {
 protected:
  void SetUp() override {
    pipeline =
        Pipeline::open(test::source_path("tests/reference/z_image/tiny"), {.threads = 2}).value();
    request.prompt = "a red fox";
    request.width = kWidth;
    request.height = kHeight;
    request.steps = kSteps;
    request.guidance.assign(kSteps, 0.0f);
    request.seed = 11;
  }
  Picture draw(const ProgressCallback& progress = {}) {
    auto picture = pipeline->generate(request, progress, nullptr);
    EXPECT_TRUE(picture) << picture.error().message;
    return picture ? std::move(*picture) : Picture();
  }
  std::string refusal() {
    const auto plan = pipeline->plan(request);
    EXPECT_FALSE(plan);
    return plan ? std::string() : plan.error().message;
  }

  std::unique_ptr<Pipeline> pipeline;
  PictureRequest request;
};

// Z-Image's first noise level is 1: of the given picture nothing is left then.
TEST_F(InitPipeline, AtStrengthOneItIsThePictureOfTheNoise) {
  const Picture plain = draw();
  request.init = some_picture();
  request.init->strength = 1.0;
  const Picture from = draw();
  EXPECT_EQ(from.latents, plain.latents);
  EXPECT_EQ(from.image.pixels, plain.image.pixels);
}

TEST_F(InitPipeline, StepsThatDoNotRunCostNothing) {
  request.init = some_picture();
  const auto plan = pipeline->plan(request);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(plan->steps(), 3);
  EXPECT_EQ(plan->sampling.skipped_steps, 2);
  EXPECT_GT(plan->memory.encode_phase, 0u);
  EXPECT_LE(plan->memory.encode_phase, plan->peak_bytes());
  int64_t steps = 0, blocks = 0;
  const Picture picture = draw([&](const PictureProgress& report) {
    if (report.phase == Phase::kDenoise) steps = report.total;
    if (report.phase == Phase::kEncode) blocks = std::max(blocks, report.done);
  });
  EXPECT_EQ(steps, 3);
  EXPECT_GT(blocks, 5);
  EXPECT_EQ(picture.step_ms.size(), 3u);
  EXPECT_GT(picture.phase_ms[static_cast<size_t>(Phase::kEncode)], 0.0);
  const Picture again = draw();
  EXPECT_EQ(again.image.pixels, picture.image.pixels);
  request.init.reset();
  EXPECT_EQ(draw().step_ms.size(), 5u);
}

TEST_F(InitPipeline, ABlackMaskGivesThePictureBackToTheBit) {
  request.init = some_picture();
  request.init->strength = 1.0;
  request.init->mask.assign(kWidth * kHeight, 0);
  const Picture picture = draw();
  EXPECT_EQ(picture.image.pixels, request.init->image.pixels);
}

TEST_F(InitPipeline, AWhiteMaskIsNoMask) {
  request.init = some_picture();
  const Picture unmasked = draw();
  request.init->mask.assign(kWidth * kHeight, 255);
  const Picture white = draw();
  EXPECT_EQ(white.latents, unmasked.latents);
  EXPECT_EQ(white.image.pixels, unmasked.image.pixels);
}

// The right half is drawn anew: its latents are none of the picture's, the others are all.
TEST_F(InitPipeline, AMaskKeepsLatentsAndPixels) {
  request.init = some_picture();
  request.init->mask.assign(kWidth * kHeight, 0);
  const Picture kept = draw();
  for (int64_t i = 0; i < kWidth * kHeight; ++i)
    if (i % kWidth >= kWidth / 3) request.init->mask[static_cast<size_t>(i)] = 255;
  const Picture half = draw();
  constexpr int64_t kTokens = kWidth / 16;
  const auto channels = static_cast<size_t>(half.latent_channels);
  for (size_t i = 0; i < half.latents.size(); ++i) {
    const bool is_kept = static_cast<int64_t>(i / channels) % kTokens < 1;
    if (!is_kept) continue;
    EXPECT_EQ(half.latents[i], kept.latents[i]) << i;
  }
  EXPECT_GT(relative_error(half.latents, kept.latents), 0.1);
  int64_t differing = 0;
  for (size_t i = 0; i < half.image.pixels.size(); ++i) {
    const bool same = half.image.pixels[i] == request.init->image.pixels[i];
    if (request.init->mask[i / 3] == 0) {
      EXPECT_TRUE(same);
    } else if (!same) {
      ++differing;
    }
  }
  EXPECT_GT(differing, kWidth * kHeight);
}

// The last estimate is the picture's latents, kept ones among them in every estimate.
TEST_F(InitPipeline, EstimatesKeepWhatTheMaskKeeps) {
  request.init = some_picture();
  request.init->mask.assign(kWidth * kHeight, 0);
  const Picture kept = draw();
  const auto plan = pipeline->plan(request);
  ASSERT_TRUE(plan);
  int taken = 0;
  const auto picture = pipeline->generate(
      *plan, {}, nullptr, {.after = {1, 3}, .take = [&](const StepEstimate& estimate) {
                             EXPECT_EQ(estimate.steps, 3);
                             EXPECT_TRUE(std::equal(estimate.latents.begin(),
                                                    estimate.latents.end(), kept.latents.begin()));
                             ++taken;
                           }});
  ASSERT_TRUE(picture) << picture.error().message;
  EXPECT_EQ(taken, 2);
}

TEST_F(InitPipeline, ReusesPassesOfAStepMask) {
  request.init = some_picture();
  const Picture all = draw();
  request.cache = "0.6";
  const auto plan = pipeline->plan(request);
  ASSERT_TRUE(plan) << plan.error().message;
  ASSERT_TRUE(plan->sampling.mask);
  EXPECT_EQ(plan->sampling.mask->steps(), 3);
  EXPECT_EQ(plan->sampling.mask->passes[0][0], PassWork::kCompute);
  EXPECT_LT(relative_error(draw().latents, all.latents), 0.5);
}

TEST_F(InitPipeline, RefusesWhatDoesNotFit) {
  request.init = some_picture();
  request.init->strength = 0.0;
  EXPECT_THAT(refusal(), HasSubstr("strength 0: expected above 0 to 1"));
  request.init->strength = 0.5;
  request.progressive = "2";
  request.width = request.height = 32;
  request.init->image = {.width = 32, .height = 32, .pixels = std::vector<uint8_t>(3 * 32 * 32)};
  EXPECT_THAT(refusal(), HasSubstr("progressive: a picture that begins from another"));
  request.progressive.clear();
  request.height = 48;
  EXPECT_THAT(refusal(), HasSubstr("init picture: 32x32"));
}

// The VAE of a model whose file has no encoder: text to picture goes on as before.
TEST(InitPipelineWithoutEncoder, IsRefusedBeforeAnyWork) {
  const TempFolder folder;
  fs::copy(test::source_path("tests/reference/z_image/tiny"), folder / "model",
           fs::copy_options::recursive);
  const fs::path weights = folder / "model/vae/diffusion_pytorch_model.safetensors";
  {
    const auto file = SafetensorsFile::open(
        test::source_path("tests/reference/z_image/tiny/vae/diffusion_pytorch_model.safetensors"));
    std::vector<Tensor> tensors;
    std::vector<TensorEntry> entries;
    for (const TensorEntry& entry : (*file)->tensors()) {
      if (entry.name.starts_with("encoder.")) continue;
      tensors.push_back(*read_tensor(entry));
      entries.push_back({entry.name, tensors.back().view});
    }
    fs::remove(weights);
    ASSERT_TRUE(write_safetensors(weights, entries));
  }
  const auto pipeline = Pipeline::open(folder / "model", {.threads = 1});
  ASSERT_TRUE(pipeline) << pipeline.error().message;
  PictureRequest request;
  request.prompt = "cat";
  request.width = kWidth;
  request.height = kHeight;
  request.steps = 1;
  request.guidance = {0.0f};
  EXPECT_TRUE((*pipeline)->plan(request));
  request.init = some_picture();
  const auto plan = (*pipeline)->plan(request);
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(plan.error().message, HasSubstr("holds no encoder"));
}

TEST(InitLatents, MixByTheNoiseLevelAndTheMask) {
  const InitLatents latents({.clean = {1, 2, 3, 4},
                             .noise = {10, 20, 30, 40},
                             .mask = {1.0f, 0.0f, 0.5f, 0.0f},
                             .grid_w = 1});
  EXPECT_THAT(latents.at(0.0), testing::ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(latents.at(1.0), testing::ElementsAre(10, 20, 30, 40));
  std::vector<float> x{7, 7, 7, 7};
  latents.keep_given(0.5, x);
  EXPECT_THAT(x, testing::ElementsAre(7, 11, 11.75f, 22));
}

}  // namespace
}  // namespace intaglio
