// The transformer's plan, what it leaves out, and its weights and adapters under the names of other
// files.
#include "models/qwen_image/transformer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/relative_error.h"
#include "io/checkpoint.h"
#include "io/formats/lora.h"
#include "io/safetensors.h"
#include "support/source_folder.h"
#include "support/temp_folder.h"
#include "unit/models/passes.h"

namespace intaglio::qwen_image {
namespace {

using test::random_values;

const std::string kFolder = test::source_path("tests/reference/qwen_image/tiny/transformer");

TransformerConfig config() {
  return parse_transformer_config(*JsonConfig::open(kFolder + "/config.json")).value();
}

using Passes = test::Passes<Transformer, config>;

TEST(QwenImageTransformer, ThePlanIsExact) {
  for (const Precision precision : {Precision::kFp32, Precision::kBf16, Precision::kInt8}) {
    Passes run(kFolder, {.precision = precision});
    for (const int64_t tokens : {1, 64})
      run.velocity(random_values(tokens * run.transformer.text_dim(), 4));
    run.velocity(random_values(run.transformer.text_dim(), 4), std::vector<float>(1000, 0.5f));
  }
}

TEST(QwenImageTransformer, UnreadRowsChangeNothing) {
  constexpr int64_t kTokens = 5, kUnread = 34;
  Passes reads_all(kFolder), skips(kFolder, {.precision = Precision::kFp32}, {}, kUnread);
  const int64_t width = reads_all.transformer.text_dim();
  std::vector<float> features = random_values((kUnread + kTokens) * width, 6);
  const std::vector<float> skipped = skips.velocity(features);
  features.erase(features.begin(), features.begin() + kUnread * width);
  EXPECT_EQ(skipped, reads_all.velocity(features));
}

// Of all steps at once: a step's modulations are those it would have alone.
TEST(QwenImageTransformer, StepsDoNotMix) {
  Passes run(kFolder);
  const std::vector<float> features = random_values(7 * run.transformer.text_dim(), 3);
  const std::vector<float> among = run.velocity(features, {1.0f, 0.75f, 0.5f, 0.25f});
  EXPECT_LT(relative_error(among, run.velocity(features, {0.75f})), 1e-6);
  EXPECT_GT(relative_error(among, run.velocity(features, {0.5f})), 1e-3);
}

// The tiny weights as a lone file with a prefix, which is all that other programs change.
class PrefixedFile {
 public:
  PrefixedFile() {
    const auto checkpoint = Checkpoint::open(kFolder).value();
    std::vector<TensorEntry> entries;
    for (const auto& file : checkpoint->files()) {
      for (const TensorEntry& entry : file->tensors()) {
        tensors_.push_back(read_tensor(entry).value());
        entries.push_back({"model.diffusion_model." + entry.name, tensors_.back().view});
      }
    }
    EXPECT_TRUE(write_safetensors(path, entries));
  }

 private:
  TempFolder folder_;
  std::vector<Tensor> tensors_;

 public:
  std::filesystem::path path = folder_ / "qwen_image_bf16.safetensors";
};

TEST(QwenImageTransformer, FilesOfOtherProgramsAreTheSameModel) {
  Passes published(kFolder);
  const std::vector<float> features = random_values(7 * published.transformer.text_dim(), 3);
  EXPECT_EQ(Passes(PrefixedFile().path).velocity(features), published.velocity(features));
}

// Of a block's linears, whose names hold numbers, under each program's names.
TEST(QwenImageTransformer, AdaptersOfEveryName) {
  const int64_t d = config().width();
  Passes plain(kFolder);
  const std::vector<float> features = random_values(7 * plain.transformer.text_dim(), 3);
  struct Module {
    std::string name, flat;
    int64_t n, k;
  };
  for (const Module& module :
       {Module{"transformer_blocks.1.attn.add_q_proj", "transformer_blocks_1_attn_add_q_proj", d,
               d},
        {"transformer_blocks.0.img_mlp.net.0.proj", "transformer_blocks_0_img_mlp_net_0_proj",
         4 * d, d},
        {"transformer_blocks.0.txt_mlp.net.2", "transformer_blocks_0_txt_mlp_net_2", d, 4 * d},
        {"transformer_blocks.1.img_mod.1", "transformer_blocks_1_img_mod_1", 6 * d, d}}) {
    const std::vector<float> down = random_values(2 * module.k, 11),
                             up = random_values(module.n * 2, 12);
    std::optional<std::vector<float>> expected;
    for (const auto& [name, a, b] :
         {std::tuple{"transformer." + module.name, ".lora_A.weight", ".lora_B.weight"},
          {"diffusion_model." + module.name, ".lora_down.weight", ".lora_up.weight"},
          {module.name, ".lora_down.weight", ".lora_up.weight"},
          {"lora_unet_" + module.flat, ".lora_down.weight", ".lora_up.weight"}}) {
      const TempFolder folder;
      const std::vector<TensorEntry> entries{
          {name + a, {down.data(), DType::kF32, Shape{2, module.k}}},
          {name + b, {up.data(), DType::kF32, Shape{module.n, 2}}}};
      ASSERT_TRUE(write_safetensors(folder / "lora.safetensors", entries));
      const AdapterUse use{AdapterFile::open(folder / "lora.safetensors").value(), 0.05f};
      Passes run(kFolder, {.precision = Precision::kFp32}, {use});
      EXPECT_EQ(run.transformer.match_adapters()->size(), 2u) << name;
      const std::vector<float> velocity = run.velocity(features);
      if (!expected) expected = velocity;
      EXPECT_EQ(velocity, *expected) << name;
    }
    EXPECT_GT(relative_error(*expected, plain.velocity(features)), 1e-4) << module.name;
  }
}

TEST(QwenImageTransformer, LayersBeyondTheConfigAreRefused) {
  TransformerConfig fewer = config();
  fewer.layers -= 1;
  const auto refused = Transformer(fewer, {}, 0).open_source(Checkpoint::open(kFolder).value());
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, testing::HasSubstr("num_layers"));
}

}  // namespace
}  // namespace intaglio::qwen_image
