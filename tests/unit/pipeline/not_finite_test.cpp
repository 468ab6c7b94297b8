// A NaN or an Inf in any part ends in an error that names the part, at every precision; never in a
// picture.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "core/sanitizers.h"
#include "pipeline/pipeline.h"
#include "support/tiny_model.h"

namespace intaglio {
namespace {

using test::TinyModel;
using ::testing::HasSubstr;

PictureRequest small_request() {
  PictureRequest request;
  request.prompt = "cat";
  request.width = request.height = 32;
  request.steps = 2;
  request.guidance = {4.0f, 4.0f};
  request.seed = 5;
  return request;
}

std::string problem(const TinyModel& model, Precision precision,
                    const PictureRequest& request = small_request()) {
  PipelineOptions options;
  options.threads = 2;
  options.selection.precision = precision;
  const auto pipeline = Pipeline::open(model.path(), options);
  if (!pipeline) return "open: " + pipeline.error().message;
  const auto picture = (*pipeline)->generate(request, {}, nullptr);
  return picture ? "" : picture.error().message;
}

constexpr Precision kPrecisions[] = {Precision::kFp32, Precision::kBf16, Precision::kInt8,
                                     Precision::kInt8Dequant};

TEST(NotFinite, SoundModelsDraw) {
  for (const Precision precision : kPrecisions) EXPECT_EQ(problem(TinyModel(), precision), "");
}

TEST(NotFinite, AWeightOfAnyPartIsSeen) {
  const struct {
    const char *file, *tensor, *part;
    bool is_linear = false;
  } cases[] = {
      {"text_encoder/model.safetensors", "language_model.layers.3.mlp.up_proj.weight",
       "text encoder", true},
      {"text_encoder/model.safetensors", "language_model.layers.35.input_layernorm.weight",
       "text encoder"},
      {"transformer/diffusion_pytorch_model.safetensors", "layers.1.attention.to_q.weight",
       "transformer", true},
      {"transformer/diffusion_pytorch_model.safetensors", "layers.0.feed_forward.w2.weight",
       "transformer", true},
      {"transformer/diffusion_pytorch_model.safetensors", "layers.2.ffn_norm1.weight",
       "transformer"},
      {"transformer/diffusion_pytorch_model.safetensors", "llm_cond_proj.bias", "transformer"},
      {"transformer/diffusion_pytorch_model.safetensors", "final_layer.linear.bias", "transformer"},
      {"unconditional_transformer/diffusion_pytorch_model.safetensors",
       "layers.1.attention.to_v.weight", "transformer", true},
      {"vae/diffusion_pytorch_model.safetensors", "decoder.conv_in.weight", "VAE"},
      {"vae/diffusion_pytorch_model.safetensors", "decoder.mid_block.attentions.0.to_k.weight",
       "VAE"},
      {"vae/diffusion_pytorch_model.safetensors", "decoder.conv_out.bias", "VAE"},
  };
  for (const auto& c : cases) {
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      const TinyModel model;
      model.poison(c.file, c.tensor, bad);
      for (const Precision precision : kPrecisions) {
        if (kSanitized && precision != Precision::kInt8) continue;  // ten times as slow there
        SCOPED_TRACE(fmt::format("{} {} at {}", c.tensor, bad, precision_name(precision)));
        const std::string message = problem(model, precision);
        if (c.is_linear) {  // told as it is read
          EXPECT_THAT(message,
                      HasSubstr(fmt::format("{}: {}: holds an Inf or a NaN", c.file, c.tensor)));
          continue;
        }
        EXPECT_THAT(message, HasSubstr("not finite"));
        EXPECT_THAT(message, HasSubstr(c.part));
      }
    }
  }
}

TEST(NotFinite, GuidanceThatOverflowsNamesTheStep) {
  PictureRequest request = small_request();
  request.guidance = {4.0f, 3e38f};
  const std::string message = problem(TinyModel(), Precision::kFp32, request);
  EXPECT_THAT(message, HasSubstr("step 2 of 2"));
  EXPECT_THAT(message, HasSubstr("not finite"));
}

TEST(NotFinite, NoiseIsRefusedBeforeAnyWork) {
  PictureRequest request = small_request();
  request.noise.emplace(4 * 16, 0.5f);
  (*request.noise)[7] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(problem(TinyModel(), Precision::kFp32, request), HasSubstr("noise"));
}

// A pipeline that met such a picture makes the next as ever.
TEST(NotFinite, ThePipelineGoesOn) {
  const TinyModel model;
  const auto kept = Pipeline::open(model.path(), {.threads = 2}).value();
  PictureRequest bad = small_request();
  bad.guidance = {3e38f, 3e38f};
  EXPECT_FALSE(kept->generate(bad, {}, nullptr));
  const auto after = kept->generate(small_request(), {}, nullptr);
  const auto fresh =
      Pipeline::open(model.path(), {.threads = 2}).value()->generate(small_request(), {}, nullptr);
  ASSERT_TRUE(after && fresh);
  EXPECT_EQ(after->latents, fresh->latents);
}

}  // namespace
}  // namespace intaglio
