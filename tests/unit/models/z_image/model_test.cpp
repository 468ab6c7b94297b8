#include "models/z_image/model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "models/registry.h"
#include "models/z_image/transformer.h"
#include "pipeline/pipeline.h"
#include "support/source_folder.h"

namespace intaglio::z_image {
namespace {

using ::testing::HasSubstr;

std::shared_ptr<const intaglio::Model> tiny() {
  return open_model({.folder = test::source_path("tests/reference/z_image/tiny")}).value();
}

PictureRequest request_of(std::vector<float> guidance) {
  PictureRequest request;
  request.prompt = "a red fox";
  request.width = request.height = 64;
  request.steps = static_cast<int64_t>(guidance.size());
  request.guidance = std::move(guidance);
  return request;
}

// The published variants differ in the shift of their scheduler alone.
TEST(ZImage, TheShiftTellsTheVariants) {
  const ModelInfo turbo = synthetic_model("z-image-turbo").value()->info();
  const ModelInfo base = synthetic_model("z-image").value()->info();
  EXPECT_EQ(turbo.shift, 3.0);
  EXPECT_EQ(turbo.default_steps, 8);
  EXPECT_EQ(turbo.default_guidance.of_steps(2), (std::vector<float>{0, 0}));
  EXPECT_EQ(base.shift, 6.0);
  EXPECT_EQ(base.default_steps, 50);
  EXPECT_EQ(base.default_guidance.of_steps(2), (std::vector<float>{4, 4}));
}

// 6.15 G parameters, of which 521 tensors tell.
TEST(ZImage, SyntheticSizesAreThePublishedOnes) {
  const TensorShapes shapes =
      synthetic_model("z-image").value()->transformer(0, {})->tensor_shapes();
  EXPECT_EQ(shapes.size(), 521u);
  double parameters = 0.0;
  for (const auto& [name, shape] : shapes) parameters += static_cast<double>(shape.count());
  EXPECT_NEAR(parameters, 6.15e9, 0.01e9);
}

// v + g (v - v_negative), from 0 on; beyond the truncation, and at 0, the prompt's pass alone.
TEST(ZImage, GuidanceIsASecondPassWithTheNegativeText) {
  const auto model = tiny();
  const auto plain = model->sampling(request_of({0, 0})).value();
  ASSERT_EQ(plain.passes.size(), 1u);
  EXPECT_EQ(model->texts(request_of({0, 0}))->size(), 1u);
  EXPECT_EQ(plain.steps[0].weights, std::vector<float>{1.0f});

  PictureRequest request = request_of({3, 3, 0, 3});
  request.cfg_truncation = 0.4;
  request.cfg_normalization = 1.5;
  const auto guided = model->sampling(request).value();
  ASSERT_EQ(guided.passes.size(), 2u);
  EXPECT_EQ(guided.passes[1].transformer, 0);
  EXPECT_EQ(guided.passes[1].text, 1);
  EXPECT_EQ(guided.velocity_limit, 1.5f);
  EXPECT_EQ(guided.steps[0].weights, (std::vector<float>{4, -3}));
  EXPECT_EQ(guided.steps[2].weights, (std::vector<float>{1, 0}));
  EXPECT_GT(guided.steps[3].time, 0.4f);
  EXPECT_EQ(guided.steps[3].weights, (std::vector<float>{1, 0}));
  const auto texts = model->texts(request).value();
  ASSERT_EQ(texts.size(), 2u);
  EXPECT_EQ(texts[1], model->tokenize("").value());
  request.negative_prompt = "blurred";
  EXPECT_EQ(model->texts(request)->at(1), model->tokenize("blurred").value());

  const auto refused = model->sampling(request_of({-1}));
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("guidance -1"));
}

// A plan says what is drawn: of a negative prompt nothing where no step that runs is guided.
TEST(ZImage, ANegativePromptThatNothingReadsIsNotOfThePicture) {
  const auto pipeline = Pipeline::open(tiny(), {.threads = 1}).value();
  const auto planned = [&](PictureRequest request) {
    request.negative_prompt = "blurred";
    return pipeline->plan(request).value().request.negative_prompt;
  };
  EXPECT_EQ(planned(request_of({3, 0})), "blurred");
  EXPECT_EQ(planned(request_of({0, 0})), std::nullopt);
  PictureRequest truncated = request_of({0, 3});  // guided at a time that its guidance ends before
  truncated.cfg_truncation = 0.1;
  EXPECT_EQ(planned(truncated), std::nullopt);
  for (const auto& [guidance, expected] :
       {std::pair(std::vector<float>{3, 3, 0, 0}, std::optional<std::string>()),
        std::pair(std::vector<float>{3, 3, 0, 3}, std::optional<std::string>("blurred"))}) {
    PictureRequest late = request_of(guidance);
    late.init = InitPicture{
        .image = {64, 64, std::vector<uint8_t>(3 * 64 * 64, 9)}, .mask = {}, .strength = 0.5};
    EXPECT_EQ(planned(late), expected);
  }
}

// A long prompt loses its end and the form's.
TEST(ZImage, LongPromptsAreCut) {
  const auto model = tiny();
  const std::string prompt(3000, 'a');
  EXPECT_EQ(model->tokenize(prompt)->size(), 512u);
  EXPECT_EQ(model->tokenize(prompt, 20)->size(), 20u);
}

TEST(ZImage, ImageAndCaptionArePaddedToWholeGroups) {
  const auto transformer = tiny()->transformer(0, {});
  const SequenceRows rows = transformer->sequence({.text_tokens = 33, .grid_h = 6, .grid_w = 5});
  EXPECT_EQ(rows.text, 64);
  EXPECT_EQ(rows.image, 32);
  EXPECT_EQ(transformer->sequence({.text_tokens = 32, .grid_h = 4, .grid_w = 8}).all(), 64);
}

TEST(ZImage, ConfigsThatMeanAnotherModelAreRefused) {
  const std::string where =
      test::source_path("tests/reference/z_image/tiny/transformer/config.json");
  const nlohmann::json good = JsonConfig::open(where)->json();
  const auto parse = [&](const char* key, const nlohmann::json& value) {
    nlohmann::json json = good;
    json[key] = value;
    return parse_transformer_config(*JsonConfig::parse(json.dump(), "config.json"));
  };
  EXPECT_TRUE(parse("n_kv_heads", 1));  // which the published code does not use
  for (const auto& [key, value] :
       std::vector<std::pair<const char*, nlohmann::json>>{{"axes_dims", {4, 6, 4}},
                                                           {"axes_dims", {4, 5, 7}},
                                                           {"axes_dims", {16}},
                                                           {"all_patch_size", {1, 2}},
                                                           {"all_f_patch_size", {2}},
                                                           {"qk_norm", false},
                                                           {"siglip_feat_dim", 1152},
                                                           {"n_heads", 5},
                                                           {"rope_theta", -1},
                                                           {"n_layers", 0}}) {
    const auto refused = parse(key, value);
    ASSERT_FALSE(refused) << key << " = " << value;
    EXPECT_THAT(refused.error().message, HasSubstr(key));
  }
}

}  // namespace
}  // namespace intaglio::z_image
