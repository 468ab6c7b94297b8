#include <gtest/gtest.h>

#include "models/ideogram4/model_sizes.h"
#include "models/qwen3/chat.h"
#include "models/registry.h"
#include "pipeline/pipeline.h"
#include "support/source_folder.h"

namespace intaglio {
namespace {

Expected<JsonConfig> bundled(const char* part) {
  return JsonConfig::open(std::filesystem::path(test::source_path("models/mini")) / part);
}

void expect_same(const ideogram4::TransformerConfig& a, const ideogram4::TransformerConfig& b) {
  EXPECT_EQ(a.layers, b.layers);
  EXPECT_EQ(a.heads, b.heads);
  EXPECT_EQ(a.head_dim, b.head_dim);
  EXPECT_EQ(a.intermediate, b.intermediate);
  EXPECT_EQ(a.adaln_dim, b.adaln_dim);
  EXPECT_EQ(a.channels, b.channels);
  EXPECT_EQ(a.text_dim, b.text_dim);
  EXPECT_EQ(a.mrope_section, b.mrope_section);
  EXPECT_EQ(a.rope_theta, b.rope_theta);
  EXPECT_EQ(a.norm_eps, b.norm_eps);
}

TEST(DiffusersModel, SyntheticMiniHasTheSizesOfTheBundledModel) {
  const ideogram4::ModelSizes sizes = ideogram4::model_sizes("mini").value();
  const auto index = bundled("model_index.json");
  const auto conditional = bundled("transformer/config.json");
  const auto unconditional = bundled("unconditional_transformer/config.json");
  const auto text = bundled("text_encoder/config.json");
  const auto vae = bundled("vae/config.json");
  ASSERT_TRUE(index && conditional && unconditional && text && vae);
  expect_same(sizes.conditional, ideogram4::parse_transformer_config(*conditional).value());
  expect_same(*sizes.unconditional, ideogram4::parse_transformer_config(*unconditional).value());
  const qwen3::TextEncoderConfig t = ideogram4::parse_text_config(*text, &*index).value();
  EXPECT_EQ(sizes.text.layers, t.layers);
  EXPECT_EQ(sizes.text.heads, t.heads);
  EXPECT_EQ(sizes.text.kv_heads, t.kv_heads);
  EXPECT_EQ(sizes.text.head_dim, t.head_dim);
  EXPECT_EQ(sizes.text.hidden, t.hidden);
  EXPECT_EQ(sizes.text.intermediate, t.intermediate);
  EXPECT_EQ(sizes.text.vocab, t.vocab);
  EXPECT_EQ(sizes.text.taps, t.taps);
  const autoencoder::DecoderConfig v = autoencoder::parse_decoder_config(*vae).value();
  EXPECT_EQ(sizes.vae.latent_channels, v.latent_channels);
  EXPECT_EQ(sizes.vae.widths, v.widths);
  EXPECT_EQ(sizes.vae.layers_per_block, v.layers_per_block);
  EXPECT_EQ(sizes.vae.norm_groups, v.norm_groups);
}

// What is timed for one-branch checkpoints is one pass a step, without a second set of weights.
TEST(DiffusersModel, InstantSizesHaveOneBranch) {
  const auto source = synthetic_model("ideogram4-instant").value();
  EXPECT_EQ(source->transformers(), 1);
  EXPECT_EQ(source->info().default_steps, 8);
  EXPECT_EQ(source->info().default_guidance.of_steps(8), std::vector<float>(8, 1.0f));
  EXPECT_EQ(synthetic_model("ideogram4").value()->transformers(), 2);
}

TEST(DiffusersModel, UnknownSizesAreRefusedWithTheNames) {
  const auto source = synthetic_model("flux9");
  ASSERT_FALSE(source);
  EXPECT_EQ(source.error().code, ErrorCode::kNotFound);
  EXPECT_NE(source.error().message.find("ideogram4, ideogram4-instant, mini"), std::string::npos);
}

TEST(DiffusersModel, SyntheticPromptsHaveATokenForFourBytes) {
  const auto source = synthetic_model("mini").value();
  const auto ids = source->tokenize("a red circle");
  ASSERT_TRUE(ids);
  EXPECT_EQ(ids->size(), (qwen3::ChatForm().around("a red circle").size() + 3) / 4);
  for (const int32_t id : *ids) {
    EXPECT_GE(id, 0);
    EXPECT_LT(id, source->text_config().vocab);
  }
  EXPECT_NE(*ids, source->tokenize("a red square").value());
  const auto large = source->tokenize(std::string(4 * qwen3::kMaxPromptTokens, 'x'));
  ASSERT_FALSE(large);
  EXPECT_EQ(large.error().code, ErrorCode::kInvalidArgument);
}

PictureRequest small_request(uint64_t seed, size_t tokens) {
  PictureRequest request;
  request.token_ids.emplace(tokens);
  for (size_t i = 0; i < tokens; ++i)
    (*request.token_ids)[i] = static_cast<int32_t>((i * 7 + tokens) % 1000);
  request.width = request.height = 64;
  request.steps = 2;
  request.guidance = {4.0f, 1.0f};
  request.seed = seed;
  return request;
}

// What a picture leaves behind (models, features, sampler) changes nothing in the next: neither of
// the same shape nor of another.
TEST(DiffusersModel, APipelineMakesTheSamePictureWhateverCameBefore) {
  const std::shared_ptr<const Model> source = synthetic_model("mini").value();
  PipelineOptions options;
  options.threads = 2;
  const auto fresh = Pipeline::open(source, options).value();
  const auto used = Pipeline::open(source, options).value();
  for (const size_t tokens : {size_t{40}, size_t{9}, size_t{300}}) {
    const auto other = used->generate(small_request(1, tokens), {}, nullptr);
    ASSERT_TRUE(other) << other.error().message;
  }
  const PictureRequest request = small_request(2, 9);
  const auto a = fresh->generate(request, {}, nullptr);
  const auto b = used->generate(request, {}, nullptr);
  const auto c = used->generate(request, {}, nullptr);
  ASSERT_TRUE(a && b && c);
  EXPECT_EQ(a->latents, b->latents);
  EXPECT_EQ(b->latents, c->latents);
  EXPECT_EQ(a->text_tokens, 9);
}

TEST(DiffusersModel, NoTextTokensAreRefused) {
  const auto pipeline = Pipeline::open(synthetic_model("mini").value(), {}).value();
  PictureRequest request = small_request(1, 0);
  EXPECT_EQ(pipeline->plan(request).error().code, ErrorCode::kInvalidArgument);
  request.token_ids->resize(qwen3::kMaxPromptTokens + 1);
  EXPECT_EQ(pipeline->plan(request).error().code, ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace intaglio
