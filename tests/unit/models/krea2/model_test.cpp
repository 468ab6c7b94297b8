#include "models/krea2/model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <numeric>

#include "models/registry.h"
#include "support/source_folder.h"

namespace intaglio::krea2 {
namespace {

using ::testing::HasSubstr;

const std::string kFolder = test::source_path("tests/reference/krea2/tiny");

std::shared_ptr<const intaglio::Model> tiny() { return open_model({.folder = kFolder}).value(); }

PictureRequest request_of(std::vector<float> guidance) {
  PictureRequest request;
  request.prompt = "a red fox";
  request.width = request.height = 64;
  request.steps = static_cast<int64_t>(guidance.size());
  request.guidance = std::move(guidance);
  return request;
}

double parameters_of(const TensorShapes& shapes) {
  return std::accumulate(shapes.begin(), shapes.end(), 0.0, [](double sum, const auto& tensor) {
    return sum + static_cast<double>(tensor.second.count());
  });
}

TEST(Krea2, RawAndTurboHaveTheirOwnDefaults) {
  const ModelInfo raw = synthetic_model("krea2-raw").value()->info();
  const ModelInfo turbo = synthetic_model("krea2-turbo").value()->info();
  EXPECT_EQ(raw.default_steps, 52);
  EXPECT_EQ(raw.default_guidance.of_steps(2), (std::vector<float>{3.5f, 3.5f}));
  EXPECT_EQ(turbo.default_steps, 8);
  EXPECT_EQ(turbo.default_guidance.of_steps(2), (std::vector<float>{0, 0}));
  EXPECT_EQ(raw.pixels_per_token, 16);
}

// 12.8 G parameters in 430 tensors. Of the autoencoder's decoder, 73.3 M, all but its convolutions
// over time, 2 x (768 x 384 x 3 + 768).
TEST(Krea2, SyntheticSizesAreThePublishedOnes) {
  const auto model = synthetic_model("krea2-raw").value();
  const TensorShapes shapes = model->transformer(0, {})->tensor_shapes();
  EXPECT_EQ(shapes.size(), 430u);
  EXPECT_NEAR(parameters_of(shapes), 12.8e9, 0.05e9);
  EXPECT_NEAR(parameters_of(autoencoder::decoder_tensor_shapes(model->vae_config())),
              73.3e6 - 2 * (768 * 384 * 3 + 768), 0.05e6);
  EXPECT_EQ(model->text_config().taps,
            (std::vector<int64_t>{1, 4, 7, 10, 13, 16, 19, 22, 25, 28, 31, 34}));
}

// The index tells, the scheduler's config does not: distilled levels have one mu at every size.
TEST(Krea2, DistilledLevelsDoNotDependOnTheSize) {
  PictureRequest small = request_of(std::vector<float>(4, 0.0f)), large = small;
  large.width = large.height = 1024;
  const auto raw = synthetic_model("krea2-raw").value();
  const auto turbo = synthetic_model("krea2-turbo").value();
  EXPECT_NE(raw->sampling(small)->steps[1].time, raw->sampling(large)->steps[1].time);
  EXPECT_EQ(turbo->sampling(small)->steps[1].time, turbo->sampling(large)->steps[1].time);
}

// v + g (v - v_negative), from 0 on; the transformer's time is the level itself, and x falls with
// it.
TEST(Krea2, GuidanceIsASecondPassWithTheNegativeText) {
  const auto model = tiny();
  const auto plain = model->sampling(request_of({0, 0})).value();
  ASSERT_EQ(plain.passes.size(), 1u);
  EXPECT_EQ(model->texts(request_of({0, 0}))->size(), 1u);
  EXPECT_EQ(plain.steps[0].time, 1.0f);
  EXPECT_EQ(plain.steps[1].delta, plain.steps[1].time);

  PictureRequest request = request_of({3, 0});
  const auto guided = model->sampling(request).value();
  ASSERT_EQ(guided.passes.size(), 2u);
  EXPECT_EQ(guided.passes[1].text, 1);
  EXPECT_EQ(guided.steps[0].weights, (std::vector<float>{4, -3}));
  EXPECT_EQ(guided.steps[1].weights, (std::vector<float>{1, 0}));
  EXPECT_EQ(model->texts(request)->at(1), model->tokenize("").value());
  request.negative_prompt = "blurred";
  EXPECT_EQ(model->texts(request)->at(1), model->tokenize("blurred").value());
}

TEST(Krea2, RequestsItCannotServeAreRefused) {
  const auto model = tiny();
  const auto problem = [&](const PictureRequest& request) {
    const auto sampling = model->sampling(request);
    return sampling ? std::string() : sampling.error().message;
  };
  EXPECT_THAT(problem(request_of({-1})), HasSubstr("guidance -1"));
  PictureRequest request = request_of({2});
  request.cfg_normalization = 1.0;
  EXPECT_THAT(problem(request), HasSubstr("cfg_normalization"));
  request = request_of({2});
  request.cfg_truncation = 0.5;
  EXPECT_THAT(problem(request), HasSubstr("cfg_truncation"));
  request = request_of({0});
  request.token_ids = std::vector<int32_t>(34, 1);
  const auto texts = model->texts(request);
  ASSERT_FALSE(texts);
  EXPECT_THAT(texts.error().message, HasSubstr("34 text tokens"));
  request.token_ids->push_back(1);
  EXPECT_TRUE(model->texts(request));
}

// A long prompt loses its own end; the form's 5 tokens stay.
TEST(Krea2, LongPromptsAreCutBeforeTheFormsEnd) {
  const auto model = tiny();
  const std::string prompt(3000, 'a');
  const std::vector<int32_t> shortest = model->tokenize("").value();
  ASSERT_EQ(shortest.size(), 39u);
  const std::vector<int32_t> end(shortest.end() - 5, shortest.end());
  for (const auto& [most, expected] :
       {std::pair<std::optional<int64_t>, size_t>{std::nullopt, 546}, {20, 54}}) {
    const std::vector<int32_t> ids = model->tokenize(prompt, most).value();
    ASSERT_EQ(ids.size(), expected);
    EXPECT_EQ(std::vector<int32_t>(ids.end() - 5, ids.end()), end);
    EXPECT_NE(ids[ids.size() - 6], end.front());
  }
}

// The task's 34 tokens are encoded, and not read.
TEST(Krea2, TheTasksRowsAreNotInTheSequence) {
  const auto transformer = tiny()->transformer(0, {});
  const SequenceRows rows = transformer->sequence({.text_tokens = 45, .grid_h = 6, .grid_w = 5});
  EXPECT_EQ(rows.text, 11);
  EXPECT_EQ(rows.image, 30);
  EXPECT_EQ(transformer->sequence({.text_tokens = 20, .grid_h = 1, .grid_w = 1}).text, 0);
}

// Both are autoencoders of 4 channels: their latents are not the same.
TEST(Krea2, PartsOfAnotherModelAreRefused) {
  const std::string z_image = test::source_path("tests/reference/z_image/tiny");
  const auto problem = [](const ModelPaths& paths) {
    const auto model = open_model(paths);
    return model ? std::string() : model.error().message;
  };
  EXPECT_THAT(problem({.folder = kFolder, .vae = z_image}),
              HasSubstr("the VAE is an AutoencoderKL, the transformer's latents are those of an "
                        "AutoencoderKLQwenImage"));
  EXPECT_THAT(problem({.folder = z_image, .vae = kFolder}),
              HasSubstr("the VAE is an AutoencoderKLQwenImage, the transformer's latents are those "
                        "of an AutoencoderKL"));
}

TEST(Krea2, ConfigsThatMeanAnotherModelAreRefused) {
  const nlohmann::json good = JsonConfig::open(kFolder + "/transformer/config.json")->json();
  const auto parse = [&](const char* key, const nlohmann::json& value) {
    nlohmann::json json = good;
    json[key] = value;
    return parse_transformer_config(*JsonConfig::parse(json.dump(), "config.json"));
  };
  EXPECT_TRUE(parse("num_layers", 1));
  for (const auto& [key, value] :
       std::vector<std::pair<const char*, nlohmann::json>>{{"axes_dims_rope", {4, 6, 4}},
                                                           {"axes_dims_rope", {4, 5, 7}},
                                                           {"axes_dims_rope", {16}},
                                                           {"num_key_value_heads", 3},
                                                           {"text_num_key_value_heads", 3},
                                                           {"text_num_attention_heads", 5},
                                                           {"text_hidden_dim", 0},
                                                           {"num_text_layers", 0},
                                                           {"timestep_embed_dim", 7},
                                                           {"rope_theta", -1},
                                                           {"norm_eps", 1},
                                                           {"num_layerwise_text_blocks", 0},
                                                           {"num_layers", 0}}) {
    const auto refused = parse(key, value);
    ASSERT_FALSE(refused) << key << " = " << value;
    EXPECT_THAT(refused.error().message, HasSubstr(key));
  }
}

}  // namespace
}  // namespace intaglio::krea2
