#include "models/qwen_image/model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "models/registry.h"
#include "support/source_folder.h"

namespace intaglio::qwen_image {
namespace {

using ::testing::HasSubstr;

const std::string kFolder = test::source_path("tests/reference/qwen_image/tiny");

std::shared_ptr<const intaglio::Model> tiny() { return open_model({.folder = kFolder}).value(); }

PictureRequest request_of(std::vector<float> guidance) {
  PictureRequest request;
  request.prompt = "a red fox";
  request.width = request.height = 64;
  request.steps = static_cast<int64_t>(guidance.size());
  request.guidance = std::move(guidance);
  return request;
}

double parameters_of(const TensorShapes& shapes, std::string_view part = "") {
  return std::accumulate(shapes.begin(), shapes.end(), 0.0, [&](double sum, const auto& tensor) {
    const bool counts = tensor.first.find(part) != std::string::npos;
    return counts ? sum + static_cast<double>(tensor.second.count()) : sum;
  });
}

// 20.4 G parameters in 1933 tensors, a third of them modulations; the language model's 7.07 G with
// its embeddings.
TEST(QwenImage, SyntheticSizesAreThePublishedOnes) {
  const auto model = synthetic_model("qwen-image").value();
  const TensorShapes shapes = model->transformer(0, {})->tensor_shapes();
  EXPECT_EQ(shapes.size(), 1933u);
  EXPECT_NEAR(parameters_of(shapes), 20.43e9, 0.01e9);
  EXPECT_NEAR(parameters_of(shapes, "_mod.1."), 6.79e9, 0.01e9);
  EXPECT_NEAR(parameters_of(qwen3::text_encoder_tensor_shapes(model->text_config(), "")), 7.07e9,
              0.01e9);
  EXPECT_EQ(model->text_config().taps, (std::vector<int64_t>{27}));
  const ModelInfo& info = model->info();
  EXPECT_EQ(info.default_steps, 50);
  EXPECT_EQ(info.default_guidance.of_steps(2), (std::vector<float>{4, 4}));
  EXPECT_EQ(std::pair(info.default_width, info.default_height),
            std::pair(int64_t{1328}, int64_t{1328}));
  EXPECT_EQ(info.pixels_per_token, 16);
}

// v_negative + g (v - v_negative) from 1 on, as long as v; without another text it steers away from
// one space.
TEST(QwenImage, GuidanceIsASecondPassOfTheSameLength) {
  const auto model = tiny();
  const auto plain = model->sampling(request_of({1, 0})).value();
  ASSERT_EQ(plain.passes.size(), 1u);
  EXPECT_EQ(plain.steps[1].weights, (std::vector<float>{1}));
  EXPECT_EQ(plain.steps[0].time, 1.0f);
  EXPECT_EQ(plain.steps[1].delta, plain.steps[1].time);
  EXPECT_EQ(model->texts(request_of({1, 0}))->size(), 1u);

  PictureRequest request = request_of({3, 1});
  const auto guided = model->sampling(request).value();
  ASSERT_EQ(guided.passes.size(), 2u);
  EXPECT_TRUE(guided.matches_norms);
  EXPECT_EQ(guided.passes[1].text, 1);
  EXPECT_EQ(guided.steps[0].weights, (std::vector<float>{3, -2}));
  EXPECT_EQ(guided.steps[1].weights, (std::vector<float>{1, 0}));
  EXPECT_EQ(model->texts(request)->at(1), model->tokenize(" ").value());
  request.negative_prompt = "blurred";
  EXPECT_EQ(model->texts(request)->at(1), model->tokenize("blurred").value());
}

// Of the adapters' own scheduler: base_shift and max_shift ln 3, no terminal.
TEST(QwenImage, LightningPresetsAreOfAFixedShift) {
  const auto model = synthetic_model("qwen-image").value();
  for (const int64_t steps : {4, 8}) {
    const Schedule schedule =
        choose_schedule(model->info(), {.preset = fmt::format("lightning_{}", steps)}).value();
    PictureRequest request = request_of(schedule.guidance);
    request.shift = schedule.shift;
    const Sampling sampling = model->sampling(request).value();
    ASSERT_EQ(sampling.steps.size(), static_cast<size_t>(steps));
    EXPECT_EQ(sampling.passes.size(), 1u);
    FlowMatchScheduler published{.dynamic = true, .base_shift = std::log(3.0)};
    published.max_shift = published.base_shift;
    const std::vector<float> levels = flow_match_sigmas(published, steps, 6889);
    for (size_t i = 0; i < sampling.steps.size(); ++i)
      EXPECT_NEAR(sampling.steps[i].time, levels[i], 1e-6) << i;
  }
  EXPECT_EQ(choose_schedule(model->info(), {.steps = 8})->preset, "");
}

// The language model reads 1024 tokens of a prompt, the transformer 512 unless more are asked for.
// A token attends to those before it alone: a text is cut before it is read.
TEST(QwenImage, LongPromptsAreCut) {
  const auto model = tiny();
  std::string prompt;
  for (int i = 0; i < 3000; ++i) prompt += " a";
  EXPECT_EQ(model->tokenize("").value().size(), 39u);
  const std::vector<int32_t> all = model->tokenize(prompt).value();
  EXPECT_EQ(all.size(), 34u + 1024);
  PictureRequest request = request_of({1});
  request.prompt = prompt;
  for (const auto& [most, expected] :
       {std::pair<std::optional<int64_t>, size_t>{std::nullopt, 512}, {20, 20}, {1024, 1024}}) {
    request.max_sequence_length = most;
    const std::vector<int32_t> text = model->texts(request)->front();
    ASSERT_EQ(text.size(), 34 + expected);
    EXPECT_TRUE(std::equal(text.begin(), text.end(), all.begin()));
  }
  for (const int64_t wrong : {0, 1025}) {
    request.max_sequence_length = wrong;
    const auto texts = model->texts(request);
    ASSERT_FALSE(texts);
    EXPECT_THAT(texts.error().message, HasSubstr("max_sequence_length"));
  }
}

// The task's 34 tokens are encoded, and not read.
TEST(QwenImage, TheTasksRowsAreNotInTheSequence) {
  const auto transformer = tiny()->transformer(0, {});
  EXPECT_EQ(transformer->sequence({.text_tokens = 45, .grid_h = 6, .grid_w = 5}).text, 11);
  PictureRequest request = request_of({1});
  request.token_ids = std::vector<int32_t>(34, 1);
  const auto texts = tiny()->texts(request);
  ASSERT_FALSE(texts);
  EXPECT_THAT(texts.error().message, HasSubstr("34 text tokens"));
  request.token_ids->push_back(1);
  EXPECT_TRUE(tiny()->texts(request));
}

TEST(QwenImage, RequestsItCannotServeAreRefused) {
  const auto problem = [&](const PictureRequest& request) {
    const auto sampling = tiny()->sampling(request);
    return sampling ? std::string() : sampling.error().message;
  };
  PictureRequest request = request_of({2});
  request.cfg_normalization = 1.0;
  EXPECT_THAT(problem(request), HasSubstr("cfg_normalization"));
  request = request_of({2});
  request.cfg_truncation = 0.5;
  EXPECT_THAT(problem(request), HasSubstr("cfg_truncation"));
}

nlohmann::json transformer_json() {
  return JsonConfig::open(kFolder + "/transformer/config.json")->json();
}

std::string problem_of(const nlohmann::json& json) {
  const auto config = JsonConfig::parse(json.dump(), "config.json");
  const auto read = parse_transformer_config(*config);
  return read ? "" : read.error().message;
}

// Keys of other members of the family, and sizes that do not fit together.
TEST(QwenImage, ConfigsOfOthersAreRefused) {
  EXPECT_EQ(problem_of(transformer_json()), "");
  for (const char* const key :
       {"guidance_embeds", "zero_cond_t", "use_additional_t_cond", "use_layer3d_rope"}) {
    nlohmann::json json = transformer_json();
    json[key] = true;
    EXPECT_THAT(problem_of(json), HasSubstr(key));
    json.erase(key);
    EXPECT_EQ(problem_of(json), "") << key;
  }
  nlohmann::json json = transformer_json();
  json["out_channels"] = 16;
  EXPECT_THAT(problem_of(json),
              HasSubstr("out_channels: found 16, supported is in_channels 16 / 4"));
  json = transformer_json();
  json["axes_dims_rope"] = {4, 6, 8};
  EXPECT_THAT(problem_of(json), HasSubstr("axes_dims_rope"));
  json = transformer_json();
  json["patch_size"] = 1;
  EXPECT_THAT(problem_of(json), HasSubstr("patch_size"));
}

TEST(QwenImage, PresetsOfAFolderMayHaveAShift) {
  nlohmann::json index = JsonConfig::open(kFolder + "/model_index.json")->json();
  index["presets"] = {{"FAST", {{"steps", 3}, {"shift", 2}, {"guidance", "1"}}}};
  const auto config = JsonConfig::parse(index.dump(), "model_index.json").value();
  EXPECT_THAT(Model().unknown_keys(ConfigKind::kModelIndex, config).arithmetic,
              ::testing::IsEmpty());
}

TEST(QwenImage, PartsOfAnotherModelAreRefused) {
  const std::string z_image = test::source_path("tests/reference/z_image/tiny");
  const auto model = open_model({.folder = kFolder, .vae = z_image});
  ASSERT_FALSE(model);
  EXPECT_THAT(model.error().message, HasSubstr("the VAE is an AutoencoderKL"));
  const auto other_text = open_model({.folder = kFolder, .text_encoder = z_image});
  ASSERT_FALSE(other_text);
  EXPECT_THAT(other_text.error().message, HasSubstr("supported is Qwen2.5-VL"));
}

}  // namespace
}  // namespace intaglio::qwen_image
