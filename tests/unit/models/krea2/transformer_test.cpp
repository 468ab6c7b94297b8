// The transformer's plan, its text stage, and its weights under the names of other files.
#include "models/krea2/transformer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <regex>
#include <string>
#include <vector>

#include "core/relative_error.h"
#include "io/checkpoint.h"
#include "io/formats/lora.h"
#include "io/safetensors.h"
#include "models/checkpoint_quantizer.h"
#include "support/source_folder.h"
#include "support/temp_folder.h"
#include "unit/models/passes.h"

namespace intaglio::krea2 {
namespace {

using test::random_values;

const std::string kFolder = test::source_path("tests/reference/krea2/tiny/transformer");

TransformerConfig config() {
  return parse_transformer_config(*JsonConfig::open(kFolder + "/config.json")).value();
}

using Passes = test::Passes<Transformer, config>;

// With text of every size: more rows than states, states than rows, more tokens than go through the
// states' blocks at once; and steps that take the most.
TEST(Krea2Transformer, ThePlanIsExact) {
  for (const Precision precision : {Precision::kFp32, Precision::kBf16, Precision::kInt8}) {
    Passes run(kFolder, {.precision = precision});
    for (const int64_t tokens : {1, 64, 70})
      run.velocity(random_values(tokens * run.transformer.text_dim(), 4));
    run.velocity(random_values(run.transformer.text_dim(), 4), std::vector<float>(400, 0.5f));
  }
}

// Text has no positions: tokens in another order are the same rows in that order, whichever of them
// go through the states' blocks together.
TEST(Krea2Transformer, TextKnowsNoOrder) {
  constexpr int64_t kTokens = 70, kMoved = 33;
  Passes run(kFolder);
  const int64_t width = run.transformer.text_dim(), out = run.transformer.width();
  std::vector<float> features = random_values(kTokens * width, 5);
  const std::vector<float> velocity = run.velocity(features);
  std::vector<float> rows = run.text_rows;
  std::rotate(features.begin(), features.begin() + kMoved * width, features.end());
  const std::vector<float> other = run.velocity(features);
  std::rotate(rows.begin(), rows.begin() + kMoved * out, rows.end());
  // Sums of attention in another order.
  EXPECT_LT(relative_error(run.text_rows, rows), 1e-5);
  EXPECT_LT(relative_error(other, velocity), 1e-5);
}

TEST(Krea2Transformer, UnreadRowsChangeNothing) {
  constexpr int64_t kTokens = 5, kUnread = 34;
  Passes reads_all(kFolder), skips(kFolder, {.precision = Precision::kFp32}, {}, kUnread);
  const int64_t width = reads_all.transformer.text_dim();
  std::vector<float> features = random_values((kUnread + kTokens) * width, 6);
  const std::vector<float> skipped = skips.velocity(features);
  features.erase(features.begin(), features.begin() + kUnread * width);
  EXPECT_EQ(skipped, reads_all.velocity(features));
}

// The original files' name of a tensor of the diffusers layout.
std::string original_name(std::string name) {
  const std::pair<const char*, const char*> kRules[] = {
      {"^img_in", "first"},
      {"^time_embed\\.linear_1", "tmlp.0"},
      {"^time_embed\\.linear_2", "tmlp.2"},
      {"^time_mod_proj", "tproj.1"},
      {"^txt_in\\.norm\\.weight", "txtmlp.0.scale"},
      {"^txt_in\\.linear_1", "txtmlp.1"},
      {"^txt_in\\.linear_2", "txtmlp.3"},
      {"^text_fusion", "txtfusion"},
      {"^transformer_blocks\\.(\\d+)\\.scale_shift_table", "blocks.$1.mod.lin"},
      {"^transformer_blocks", "blocks"},
      {"^final_layer\\.linear", "last.linear"},
      {"^final_layer\\.norm\\.weight", "last.norm.scale"},
      {"^final_layer\\.scale_shift_table", "last.modulation.lin"},
      {"norm1\\.weight", "prenorm.scale"},
      {"norm2\\.weight", "postnorm.scale"},
      {"attn\\.norm_q\\.weight", "attn.qknorm.qnorm.scale"},
      {"attn\\.norm_k\\.weight", "attn.qknorm.knorm.scale"},
      {"attn\\.to_q", "attn.wq"},
      {"attn\\.to_k", "attn.wk"},
      {"attn\\.to_v", "attn.wv"},
      {"attn\\.to_gate", "attn.gate"},
      {"attn\\.to_out\\.0", "attn.wo"},
      {"\\.ff\\.", ".mlp."}};
  for (const auto& [from, to] : kRules) name = std::regex_replace(name, std::regex(from), to);
  return name;
}

// The tiny weights as a lone original file: its names, modulations flat, norms F32 among bf16.
class OriginalFile {
 public:
  explicit OriginalFile(const std::string& prefix) {
    const auto checkpoint = Checkpoint::open(kFolder).value();
    std::vector<TensorEntry> entries;
    for (const auto& file : checkpoint->files()) {
      for (const TensorEntry& entry : file->tensors()) {
        tensors_.push_back(read_tensor(entry).value());
        TensorView view = tensors_.back().view;
        const std::string name = original_name(entry.name);
        if (name.ends_with("mod.lin")) view.shape = Shape{view.shape.count()};
        if (name.ends_with(".scale")) {
          floats_.push_back(read_floats(entry).value());
          view = {floats_.back().data(), DType::kF32, view.shape};
        }
        entries.push_back({prefix + name, view});
      }
    }
    EXPECT_TRUE(write_safetensors(path, entries));
  }

 private:
  TempFolder folder_;
  std::vector<Tensor> tensors_;
  std::vector<std::vector<float>> floats_;

 public:
  std::filesystem::path path = folder_ / "turbo.safetensors";
};

TEST(Krea2Transformer, OriginalFilesAreTheSameModel) {
  EXPECT_EQ(original_name("text_fusion.refiner_blocks.1.attn.norm_k.weight"),
            "txtfusion.refiner_blocks.1.attn.qknorm.knorm.scale");
  Passes published(kFolder);
  const std::vector<float> features = random_values(7 * published.transformer.text_dim(), 3);
  const std::vector<float> expected = published.velocity(features);
  for (const char* const prefix : {"", "model.diffusion_model."}) {
    const OriginalFile file(prefix);
    EXPECT_EQ(Passes(file.path).velocity(features), expected) << prefix;
  }
}

// An adapter of some modules under each program's names, on weights under either.
TEST(Krea2Transformer, AdaptersOfEveryName) {
  const OriginalFile file("");
  const int64_t d = config().width();
  const std::vector<float> down = random_values(2 * d, 11), up = random_values(d * 2, 12);
  const auto adapter = [&](const TempFolder& folder, const std::string& name, const char* down_leaf,
                           const char* up_leaf) {
    const std::filesystem::path path = folder / "lora.safetensors";
    const std::vector<TensorEntry> entries{
        {name + down_leaf, {down.data(), DType::kF32, Shape{2, d}}},
        {name + up_leaf, {up.data(), DType::kF32, Shape{d, 2}}}};
    EXPECT_TRUE(write_safetensors(path, entries));
    return AdapterUse{AdapterFile::open(path).value(), 0.5f};
  };
  Passes plain(kFolder);
  const std::vector<float> features = random_values(7 * plain.transformer.text_dim(), 3);
  std::optional<std::vector<float>> expected;
  for (const auto& [name, a, b] :
       {std::tuple{"transformer.transformer_blocks.1.attn.to_q", ".lora_A.weight",
                   ".lora_B.weight"},
        {"diffusion_model.blocks.1.attn.wq", ".lora_down.weight", ".lora_up.weight"},
        {"lora_unet_blocks_1_attn_wq", ".lora_down.weight", ".lora_up.weight"},
        {"lora_unet_transformer_blocks_1_attn_to_q", ".lora_down.weight", ".lora_up.weight"}}) {
    const TempFolder folder;
    const AdapterUse use = adapter(folder, name, a, b);
    Passes run(kFolder, {.precision = Precision::kFp32}, {use});
    EXPECT_EQ(run.transformer.match_adapters()->size(), 2u) << name;
    const std::vector<float> velocity = run.velocity(features);
    if (!expected) expected = velocity;
    EXPECT_EQ(velocity, *expected) << name;
    EXPECT_EQ(Passes(file.path, {.precision = Precision::kFp32}, {use}).velocity(features),
              *expected)
        << name;
  }
  EXPECT_GT(relative_error(*expected, plain.velocity(features)), 1e-3);
}

// Whatever names a checkpoint has, a written one has those of one program, and the same numbers.
TEST(Krea2Transformer, WrittenFilesHaveTheNamesOfOneProgram) {
  const OriginalFile file("model.diffusion_model.");
  std::optional<std::vector<float>> expected;
  for (const std::filesystem::path& source : {std::filesystem::path(kFolder), file.path}) {
    for (const CheckpointLayout layout : {CheckpointLayout::kComfy, CheckpointLayout::kDiffusers}) {
      const TempFolder folder;
      const std::filesystem::path path = folder / "written.safetensors";
      const auto quantizer =
          CheckpointQuantizer::plan(Checkpoint::open(source).value(), {.layout = layout});
      ASSERT_TRUE(quantizer) << quantizer.error().message;
      const Context context{.threads = 2, .cpu = host_cpu_features()};
      ASSERT_TRUE(quantizer->write(context, path, [](int64_t, int64_t) {}));
      if (const std::string config = quantizer->quantization_config(); !config.empty())
        folder.write("quantization_config.json", config);
      const auto written = SafetensorsFile::open(path).value();
      const bool comfy = layout == CheckpointLayout::kComfy;
      for (const TensorEntry& entry : written->tensors()) {
        if (comfy) EXPECT_EQ(original_name(entry.name), entry.name);
        if (!comfy) EXPECT_NE(original_name(entry.name), entry.name);
      }
      const TensorEntry* const table =
          written->find(comfy ? "blocks.0.mod.lin" : "transformer_blocks.0.scale_shift_table");
      ASSERT_NE(table, nullptr);
      const int64_t width = config().width();
      EXPECT_EQ(table->view.shape, comfy ? Shape{6 * width} : (Shape{6, width}));

      Passes run(path, {.precision = Precision::kInt8});
      const std::vector<float> velocity =
          run.velocity(random_values(7 * run.transformer.text_dim(), 3));
      if (!expected) expected = velocity;
      EXPECT_EQ(velocity, *expected);
    }
  }
}

// A file with a layer more than the config says, under either name.
TEST(Krea2Transformer, LayersBeyondTheConfigAreRefused) {
  const OriginalFile file("");
  for (const std::filesystem::path& path : {std::filesystem::path(kFolder), file.path}) {
    TransformerConfig fewer = config();
    fewer.layers -= 1;
    const auto refused = Transformer(fewer, {}, 0).open_source(Checkpoint::open(path).value());
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().message, testing::HasSubstr("num_layers"));
  }
}

}  // namespace
}  // namespace intaglio::krea2
