#include "models/flux2_klein/model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/files.h"
#include "models/flux2_klein/transformer.h"
#include "models/presets.h"
#include "models/registry.h"
#include "support/source_folder.h"
#include "support/temp_folder.h"

namespace intaglio::flux2_klein {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;

const char* const kTiny = "tests/reference/flux2_klein/tiny";

std::shared_ptr<const intaglio::Model> tiny() {
  return open_model({.folder = test::source_path(kTiny)}).value();
}

PictureRequest request_of(std::vector<float> guidance) {
  PictureRequest request;
  request.prompt = "a red fox";
  request.width = request.height = 64;
  request.steps = static_cast<int64_t>(guidance.size());
  request.guidance = std::move(guidance);
  return request;
}

// The tiny model with another model_index.json.
class Variant {
 public:
  explicit Variant(const nlohmann::json& is_distilled) {
    namespace fs = std::filesystem;
    const fs::path source = test::source_path(kTiny);
    for (const auto& entry : fs::directory_iterator(source)) {
      if (entry.is_directory()) fs::create_symlink(entry.path(), folder_ / entry.path().filename());
    }
    nlohmann::json index = JsonConfig::open(source / "model_index.json")->json();
    index["is_distilled"] = is_distilled;
    folder_.write("model_index.json", index.dump());
  }
  Expected<std::shared_ptr<const intaglio::Model>> open() const {
    return open_model({.folder = folder_.path()});
  }

 private:
  TempFolder folder_;
};

TEST(Flux2Klein, TheIndexTellsTheVariants) {
  const auto base = tiny();
  EXPECT_EQ(base->info().default_steps, 50);
  EXPECT_EQ(base->info().default_guidance.of_steps(2), (std::vector<float>{4, 4}));
  EXPECT_EQ(Variant(nullptr).open().value()->info().default_steps, 50);

  const auto distilled = Variant(true).open().value();
  EXPECT_EQ(distilled->info().default_steps, 4);
  const Schedule schedule = choose_schedule(distilled->info(), {}).value();
  EXPECT_EQ(schedule.guidance, (std::vector<float>{1, 1, 1, 1}));
  const auto refused = choose_schedule(distilled->info(), {.guidance = std::vector<float>{4.0f}});
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("guidance 4"));
  EXPECT_THAT(refused.error().message, HasSubstr("is_distilled"));
  EXPECT_TRUE(choose_schedule(base->info(), {.guidance = std::vector<float>{4.0f}}));

  const auto wrong = Variant("yes").open();
  ASSERT_FALSE(wrong);
  EXPECT_THAT(wrong.error().message, HasSubstr("is_distilled"));
}

TEST(Flux2Klein, SyntheticSizesAreThePublishedOnes) {
  for (const auto& [name, expected] :
       std::vector<std::pair<const char*, double>>{{"flux2-klein-4b", 3.88e9},
                                                   {"flux2-klein-base-4b", 3.88e9},
                                                   {"flux2-klein-9b", 9.08e9},
                                                   {"flux2-klein-base-9b", 9.08e9}}) {
    SCOPED_TRACE(name);
    const auto model = synthetic_model(name).value();
    double parameters = 0.0;
    for (const auto& [tensor, shape] : model->transformer(0, {})->tensor_shapes())
      parameters += static_cast<double>(shape.count());
    EXPECT_NEAR(parameters, expected, 0.005 * expected);
    const bool base = std::string_view(name).find("base") != std::string_view::npos;
    EXPECT_EQ(model->info().default_steps, base ? 50 : 4);
    EXPECT_EQ(model->text_config().feature_dim(), model->transformer(0, {})->text_dim());
    EXPECT_EQ(model->tokenize("a red fox")->size(), 512u);
  }
  // Of fewer layers there are still both kinds.
  const auto few = synthetic_model("flux2-klein-4b", 2).value()->transformer(0, {});
  EXPECT_EQ(few->layers(), 2);
  EXPECT_EQ(few->cached_blocks(), 2);
  EXPECT_EQ(synthetic_model("flux2-klein-9b", 8).value()->transformer(0, {})->layers(), 8);
}

// v_empty + g (v - v_empty) above 1; else the prompt's pass alone.
TEST(Flux2Klein, GuidanceIsASecondPassWithTheEmptyText) {
  const auto model = tiny();
  const auto plain = model->sampling(request_of({1, 0.5})).value();
  ASSERT_EQ(plain.passes.size(), 1u);
  EXPECT_EQ(model->texts(request_of({1, 0.5}))->size(), 1u);
  EXPECT_EQ(plain.steps[1].weights, std::vector<float>{1.0f});

  PictureRequest request = request_of({4, 1});
  const auto guided = model->sampling(request).value();
  ASSERT_EQ(guided.passes.size(), 2u);
  EXPECT_EQ(guided.passes[1].transformer, 0);
  EXPECT_EQ(guided.passes[1].text, 1);
  EXPECT_EQ(guided.steps[0].weights, (std::vector<float>{4, -3}));
  EXPECT_EQ(guided.steps[1].weights, (std::vector<float>{1, 0}));
  const auto texts = model->texts(request).value();
  ASSERT_EQ(texts.size(), 2u);
  EXPECT_EQ(texts[1], model->tokenize("").value());
  request.negative_prompt = "blurred";
  const auto refused = model->texts(request);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("negative prompt"));
}

// The model's time is the noise level, and x += (next - level) * velocity.
TEST(Flux2Klein, NoiseLevelsFollowSizeAndSteps) {
  PictureRequest request = request_of({1, 1, 1, 1});
  request.width = request.height = 1024;
  const auto sampling = tiny()->sampling(request).value();
  const float levels[] = {1.0f, 0.9674f, 0.9081f, 0.7672f, 0.0f};
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_NEAR(sampling.steps[i].time, levels[i], 5e-5);
    EXPECT_NEAR(sampling.steps[i].delta, levels[i] - levels[i + 1], 1e-4);
  }
}

// All texts have as many tokens: what is missing is padding, what is too much is cut.
TEST(Flux2Klein, PromptsAreFilledUpOrCut) {
  const auto model = tiny();
  const std::vector<int32_t> fox = model->tokenize("a red fox", 40).value();
  ASSERT_EQ(fox.size(), 40u);
  const std::vector<int32_t> padding(fox.begin() + 18, fox.end());
  EXPECT_THAT(padding, Each(qwen3::kPadding));
  EXPECT_NE(fox[17], qwen3::kPadding);
  EXPECT_EQ(model->tokenize("a red fox")->size(), 512u);
  EXPECT_EQ(model->tokenize(std::string(3000, 'a'))->size(), 512u);

  PictureRequest request = request_of({1});
  request.token_ids = std::vector<int32_t>(fox.begin(), fox.begin() + 18);
  const auto texts = model->texts(request).value();
  EXPECT_EQ(texts.front(), model->tokenize("a red fox").value());
  request.token_ids->push_back(qwen3::kPadding);
  EXPECT_THAT(model->texts(request).error().message, HasSubstr("text token -1"));
}

// Published code masks what it has filled up with this token, not the token: a prompt may say it,
// and be cut behind it.
TEST(Flux2Klein, ATokenThatFillsUpIsTextWhereAPromptSaysIt) {
  const auto model = tiny();
  const int32_t end = model->text_config().padding;
  const std::vector<int32_t> inside = model->tokenize("a<|endoftext|> fox", 40).value();
  EXPECT_EQ(std::count(inside.begin(), inside.end(), end), 1);
  std::string many;
  for (int i = 0; i < 600; ++i) many += "<|endoftext|>";
  const std::vector<int32_t> cut = model->tokenize(many).value();
  EXPECT_EQ(std::count(cut.begin(), cut.end(), qwen3::kPadding), 0);
  EXPECT_EQ(std::count(cut.begin(), cut.end(), end), 512 - 3);  // <|im_start|>, user, new line
}

TEST(Flux2Klein, ConfigsThatMeanAnotherModelAreRefused) {
  const std::string where = test::source_path(kTiny) + "/transformer/config.json";
  const nlohmann::json good = JsonConfig::open(where)->json();
  const auto parse = [&](const char* key, const nlohmann::json& value) {
    nlohmann::json json = good;
    json[key] = value;
    return parse_transformer_config(*JsonConfig::parse(json.dump(), "config.json"));
  };
  EXPECT_TRUE(parse("out_channels", 16));
  for (const auto& [key, value] :
       std::vector<std::pair<const char*, nlohmann::json>>{{"axes_dims_rope", {4, 6, 4}},
                                                           {"axes_dims_rope", {4, 5, 3, 4}},
                                                           {"axes_dims_rope", {4, 4, 4, 2}},
                                                           {"guidance_embeds", true},
                                                           {"patch_size", 2},
                                                           {"out_channels", 32},
                                                           {"mlp_ratio", 0},
                                                           {"attention_head_dim", 15},
                                                           {"timestep_guidance_channels", 255},
                                                           {"rope_theta", -1},
                                                           {"num_layers", 0},
                                                           {"num_single_layers", 0}}) {
    const auto refused = parse(key, value);
    ASSERT_FALSE(refused) << key << " = " << value;
    EXPECT_THAT(refused.error().message, HasSubstr(key));
  }
}

}  // namespace
}  // namespace intaglio::flux2_klein
