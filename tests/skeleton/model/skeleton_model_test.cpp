// The skeleton's velocity is that of its formulas, its plan is what it takes, and a pipeline that
// has never heard of it draws with it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/memory.h"
#include "core/philox.h"
#include "core/relative_error.h"
#include "io/safetensors.h"
#include "pipeline/pipeline.h"
#include "skeleton/model/model.h"
#include "skeleton/model/reference.h"
#include "skeleton/model/transformer.h"
#include "support/operands.h"
#include "support/scoped_environment.h"
#include "support/source_folder.h"
#include "support/temp_folder.h"
#include "support/tested_devices.h"

namespace intaglio::skeleton_model {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Ne;

constexpr uint64_t kWeights = 7;  // seed

// A feed-forward that kernels pad, and features so wide that a long text takes more than its pass.
TransformerConfig small_config() {
  return {.layers = 2,
          .heads = 2,
          .head_dim = 32,
          .intermediate = 72,
          .channels = 16,
          .text_dim = 640,
          .rope_theta = 100.0,
          .norm_eps = 1e-5f};
}

std::vector<float> normal(uint64_t seed, int64_t count) {
  std::vector<float> values(static_cast<size_t>(count));
  fill_normal(seed, values.data(), count);
  return values;
}

// fp32: sums of up to 640 products and some 30 operations in a row round by 6e-8 each. bf16 keeps 8
// bits of activations, int8 rounds them and the weights by up to half of 1/127 of a row's largest,
// and layers of 64 channels average little of it away.
double tolerance(Precision precision) {
  if (precision == Precision::kFp32) return 2e-6;
  return precision == Precision::kBf16 ? 2e-2 : 4e-2;
}

struct Case {
  PassSize size;
  size_t steps = 2;
};

// Each step of a picture.
void compare_velocities(Context context, Precision precision, const Case& c, TensorSource& source) {
  const TransformerConfig config = small_config();
  const TransformerOptions options{.selection = {.precision = precision}};
  Transformer planned(config, options);
  ASSERT_TRUE(planned.describe(context));
  const size_t scratch = planned.scratch_bytes(context, c.size, static_cast<int64_t>(c.steps));

  Transformer transformer(config, options);
  ASSERT_TRUE(transformer.load(context, source));
  const Reference reference(config, source, transformer.tensor_shapes());

  Arena arena(allocate(context, scratch).value());
  context.scratch = &arena;
  std::vector<float> features = normal(1, c.size.text_tokens * config.text_dim);
  std::vector<float> latents = normal(2, c.size.image_tokens() * config.channels);
  std::vector<float> times;
  for (size_t i = 0; i < c.steps; ++i)
    times.push_back(static_cast<float>(i) / static_cast<float>(c.steps));
  test::Operands on(context);
  TransformerSession session;
  ASSERT_TRUE(transformer.prepare(
      context, {.tokens = c.size.text_tokens, .features = on.in(features.data(), features.size())},
      c.size.grid_h, c.size.grid_w, times, session));
  for (size_t i = 0; i < c.steps; ++i) {
    std::vector<float> velocity(latents.size());
    test::Operands of_step(context);
    ASSERT_TRUE(transformer.select_step(context, session, static_cast<int64_t>(i)));
    ASSERT_TRUE(transformer.forward(context, session, of_step.in(latents.data(), latents.size()),
                                    of_step.out(velocity.data(), velocity.size())));
    of_step.fetch();
    const std::vector<float> expected =
        reference.velocity(rows_of(latents, config.channels), rows_of(features, config.text_dim),
                           c.size.grid_w, static_cast<double>(times[i]));
    EXPECT_LT(relative_error(velocity, expected), tolerance(precision)) << "step " << i;
  }
  // Enough, or something above had failed; and on a CPU, where plans count every byte, no more.
  if (context.gpu == nullptr) {
    EXPECT_EQ(arena.peak(), scratch);
  }
}

TEST(SkeletonModel, VelocityAndScratchAreThoseOfTheFormulas) {
  // Whose scratch is that of the pass, without a text and with one, of the text, of the times.
  const Case cases[] = {{.size = {0, 3, 4}},
                        {.size = {5, 3, 4}},
                        {.size = {40, 1, 1}},
                        {.size = {1, 1, 1}, .steps = 64}};
  SyntheticSource source(kWeights);
  test::each_device([&](const Context& context, const std::string& device) {
    for (const Precision precision :
         {Precision::kFp32, Precision::kBf16, Precision::kInt8, Precision::kInt8Dequant}) {
      for (const Case& c : cases) {
        SCOPED_TRACE(fmt::format("{} at {}, {} text tokens", precision_name(precision), device,
                                 c.size.text_tokens));
        compare_velocities(context, precision, c, source);
      }
    }
  });
}

std::shared_ptr<const intaglio::Model> random_model() {
  auto model = std::make_shared<Model>();
  EXPECT_TRUE(model->use_sizes("skeleton"));
  return model;
}

std::unique_ptr<Pipeline> open_pipeline(std::shared_ptr<const intaglio::Model> model,
                                        Precision precision) {
  auto pipeline = Pipeline::open(std::move(model), {.selection = {precision}, .threads = 2});
  EXPECT_TRUE(pipeline) << pipeline.error().message;
  return pipeline ? std::move(*pipeline) : nullptr;
}

struct Asked {
  std::string prompt = "a red fox";
  uint64_t seed = 5;
  std::vector<float> guidance = {1.0f, 1.0f};
  std::optional<std::string> negative = {};
};

// Three tokens by two.
Expected<Picture> draw(Pipeline& pipeline, const Asked& asked = {}) {
  PictureRequest request;
  request.prompt = asked.prompt;
  request.negative_prompt = asked.negative;
  request.width = 3 * pipeline.info().pixels_per_token;
  request.height = 2 * pipeline.info().pixels_per_token;
  request.steps = static_cast<int64_t>(asked.guidance.size());
  request.guidance = asked.guidance;
  request.seed = asked.seed;
  return pipeline.generate(request, {}, nullptr);
}

// No registry, no name: what it takes to be drawn with is the class alone.
TEST(SkeletonModel, APipelineDrawsWithIt) {
  for (const CpuIsa isa : {CpuIsa::kRef, CpuIsa::kAvx2, CpuIsa::kAvx512Vnni, CpuIsa::kAmx}) {
    if (isa > host_cpu_features().isa) break;
    const std::string name(cpu_isa_name(isa));
    const test::ScopedEnvironment level("INTAGLIO_CPU_ISA", name.c_str());
    for (const Precision precision : {Precision::kFp32, Precision::kInt8}) {
      SCOPED_TRACE(fmt::format("{} at {}", precision_name(precision), name));
      const auto model = random_model();
      const auto pipeline = open_pipeline(model, precision);
      const Picture picture = draw(*pipeline).value();
      EXPECT_EQ(picture.image.width, 12);
      EXPECT_EQ(picture.image.height, 8);
      EXPECT_THAT(picture.image.pixels, Contains(Ne(picture.image.pixels.front())));
      EXPECT_NE(draw(*pipeline, {.seed = 6})->latents, picture.latents);
      EXPECT_NE(draw(*pipeline, {.prompt = "a blue owl"})->latents, picture.latents);
      EXPECT_EQ(draw(*pipeline)->image.pixels, picture.image.pixels);
      EXPECT_EQ(draw(*open_pipeline(model, precision))->image.pixels, picture.image.pixels);
    }
  }
}

TEST(SkeletonModel, WhatItCannotDoIsRefused) {
  const auto pipeline = open_pipeline(random_model(), Precision::kFp32);
  const auto guided = draw(*pipeline, {.guidance = {1.0f, 3.0f}});
  ASSERT_FALSE(guided);
  EXPECT_EQ(guided.error().message,
            "guidance 3: synthetic:skeleton runs one pass a step, so only guidance 1 can be drawn");
  const auto negative = draw(*pipeline, {.negative = "blurred"});
  ASSERT_FALSE(negative);
  EXPECT_EQ(negative.error().message,
            "negative prompt: synthetic:skeleton takes none: it is not guided");
  const Status sizes = Model().use_sizes("giant");
  ASSERT_FALSE(sizes);
  EXPECT_EQ(sizes.error().message, "giant: no such sizes");
  const Status split = random_model()->transformer(0, {})->check_split(
      {.threads = 1}, {.text_tokens = 9, .grid_h = 9, .grid_w = 9, .split = {0, 2}});
  ASSERT_FALSE(split);
  EXPECT_EQ(split.error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(split.error().message, "a pass of this model is not split over several devices");
}

// A folder of the diffusers layout: its transformer's weights are random, the other parts those of
// another model's reference.
class SkeletonFolder : public ::testing::Test {
 protected:
  SkeletonFolder() {
    for (const char* part : {"text_encoder", "tokenizer", "vae"})
      link("tests/reference/z_image/tiny", part);
    folder_.write("scheduler/scheduler_config.json",
                  R"({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0})");
    set();
    Transformer transformer(
        parse_transformer_config(*JsonConfig::open(folder_ / "transformer/config.json")).value(),
        {});
    const TensorShapes shapes = transformer.tensor_shapes();
    SyntheticSource source(kWeights);
    EXPECT_TRUE(source.check(shapes));
    std::vector<TensorEntry> tensors;
    for (const auto& [name, shape] : shapes)
      tensors.push_back({name, source.tensor(name, shape)->view});
    EXPECT_TRUE(write_safetensors(folder_ / "transformer/model.safetensors", tensors));
  }

  void link(const std::string& model, const char* part) {
    std::filesystem::create_directory_symlink(test::source_path(model + "/" + part),
                                              folder_ / part);
  }
  // The transformer's config with other values.
  void set(const nlohmann::json& values = nlohmann::json::object()) {
    nlohmann::json config = {{"_class_name", "SkeletonTransformer2DModel"},
                             {"num_layers", 2},
                             {"num_attention_heads", 2},
                             {"attention_head_dim", 16},
                             {"ffn_dim", 48},
                             {"in_channels", 16},
                             {"text_dim", 32},
                             {"rope_theta", 100.0}};
    config.update(values);
    folder_.write("transformer/config.json", config.dump());
  }

  Expected<std::shared_ptr<const intaglio::Model>> open(
      const char* transformer_class = "SkeletonTransformer2DModel") {
    const nlohmann::json index = {{"_class_name", "SkeletonPipeline"},
                                  {"transformer", {"diffusers", transformer_class}},
                                  {"text_encoder", {"transformers", "Qwen3Model"}},
                                  {"tokenizer", {"transformers", "Qwen2Tokenizer"}},
                                  {"vae", {"diffusers", "AutoencoderKL"}},
                                  {"scheduler", {"diffusers", "FlowMatchEulerDiscreteScheduler"}}};
    folder_.write("model_index.json", index.dump());
    auto model = std::make_shared<Model>();
    INTAGLIO_TRY(model->open({.folder = folder_.path()},
                             JsonConfig::open(folder_ / "model_index.json").value()));
    return model;
  }
  std::string problem(const nlohmann::json& values = nlohmann::json::object()) {
    set(values);
    const auto model = open();
    return model ? std::string() : model.error().message;
  }

  TempFolder folder_;
};

TEST_F(SkeletonFolder, IsOpenedAndDrawnWith) {
  const auto model = open();
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ((*model)->info().shift, 3.0);
  EXPECT_THAT((*model)->info().warnings, ::testing::IsEmpty());
  const auto pipeline = open_pipeline(*model, Precision::kInt8);
  const Picture picture = draw(*pipeline).value();
  EXPECT_EQ(picture.image.width, 48);
  EXPECT_EQ(draw(*pipeline)->image.pixels, picture.image.pixels);
}

// File, key, what was found, what was expected.
TEST_F(SkeletonFolder, WrongConfigsAreRefused) {
  const std::string file = (folder_ / "transformer/config.json").string() + ": ";
  EXPECT_EQ(problem(), "");
  EXPECT_EQ(problem({{"activation", "gelu"}}),
            file + R"(activation: found "gelu", supported is "silu" or "swish")");
  EXPECT_EQ(problem({{"attention_head_dim", 30}}),
            file + "attention_head_dim: expected a multiple of 4, found 30");
  for (const char* key : {"num_layers", "num_attention_heads", "attention_head_dim", "ffn_dim",
                          "in_channels", "text_dim", "rope_theta", "norm_eps"})
    EXPECT_THAT(problem({{key, -1}}), HasSubstr(file + key));
  EXPECT_THAT(problem({{"text_dim", 48}}),
              HasSubstr("32 features a token, the transformer reads 48"));
  EXPECT_THAT(problem({{"in_channels", 64}}),
              HasSubstr("64 channels a token (in_channels), the VAE packs 16 (2 x 2 x 4)"));
  EXPECT_THAT(problem({{"num_layers", 1}}), HasSubstr("num_layers"));
  EXPECT_THAT(problem({{"num_layers", 3}}), HasSubstr("layers.2."));
  set();
  const auto other = open("OtherTransformer2DModel");
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().message, (folder_ / "model_index.json").string() +
                                       ": transformer: found OtherTransformer2DModel, supported is "
                                       "SkeletonTransformer2DModel");
  // Another model's latents.
  std::filesystem::remove(folder_ / "vae");
  link("tests/reference/data/tiny", "vae");
  EXPECT_THAT(problem(), HasSubstr("the VAE is an AutoencoderKLFlux2"));
}

// Told, not refused.
TEST_F(SkeletonFolder, SettingsThatNobodyReadsAreWarnedOf) {
  set({{"attention_sinks", 4}});
  const auto warned = open();
  ASSERT_TRUE(warned) << warned.error().message;
  EXPECT_THAT((*warned)->info().warnings, ::testing::ElementsAre(HasSubstr("attention_sinks")));
}

// Levels that step evenly from noise to picture, as the published schedule has them.
TEST(SkeletonModel, StepsFollowTheSchedule) {
  const auto model = random_model();
  PictureRequest request;
  request.width = request.height = 64;
  request.steps = 4;
  const Sampling sampling = model->sampling(request).value();
  ASSERT_EQ(sampling.steps.size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(sampling.steps[i].time, 0.25f * static_cast<float>(i));
    EXPECT_EQ(sampling.steps[i].delta, -0.25f);
  }
  const auto settings = JsonConfig::parse(R"({"scheduler": {"shift": 3.0}})", "case").value();
  // 3 s / (1 + 2 s)
  EXPECT_THAT(model->sigmas(request, settings).value(),
              ::testing::ElementsAre(1.0f, 0.9f, 0.75f, 0.5f, 0.0f));
}

}  // namespace
}  // namespace intaglio::skeleton_model
