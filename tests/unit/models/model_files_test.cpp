// Models whose parts are missing, elsewhere, fewer, or not what their configs say: seen when they
// are opened, before any weight is read.
#include "models/model_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/files.h"
#include "io/formats/ggml_blocks.h"
#include "models/registry.h"
#include "pipeline/pipeline.h"
#include "support/tiny_model.h"
#include "unit/io/gguf_bytes.h"

namespace intaglio {
namespace {

using test::TinyModel;
using ::testing::HasSubstr;

constexpr const char* kTransformer = "transformer/diffusion_pytorch_model.safetensors";
constexpr const char* kUnconditional =
    "unconditional_transformer/diffusion_pytorch_model.safetensors";
constexpr const char* kText = "text_encoder/model.safetensors";
constexpr const char* kVae = "vae/diffusion_pytorch_model.safetensors";

std::string problem(const ModelPaths& paths) {
  const auto source = open_model(paths);
  return source ? "" : source.error().message;
}
std::string problem(const TinyModel& model) { return problem(ModelPaths{.folder = model.path()}); }

PictureRequest small_request(float guidance) {
  PictureRequest request;
  request.prompt = "cat";
  request.width = request.height = 32;
  request.steps = 2;
  request.guidance = {guidance, guidance};
  request.seed = 5;
  return request;
}

std::vector<float> latents_of(const ModelPaths& paths, float guidance) {
  auto source = open_model(paths);
  if (!source) {
    ADD_FAILURE() << source.error().message;
    return {};
  }
  const auto pipeline = Pipeline::open(std::move(*source), {.threads = 2}).value();
  const auto picture = pipeline->generate(small_request(guidance), {}, nullptr);
  if (!picture) {
    ADD_FAILURE() << picture.error().message;
    return {};
  }
  return picture->latents;
}

TEST(ModelFiles, OneBranchIsEnough) {
  const TinyModel whole;
  const std::vector<float> expected = latents_of({.folder = whole.path()}, 1.0f);
  const auto one_branch = [&](const TinyModel& model) {
    EXPECT_EQ(latents_of({.folder = model.path()}, 1.0f), expected);
    const std::shared_ptr<const Model> source = open_model({.folder = model.path()}).value();
    EXPECT_NE(source->info().unguided_reason, "");
    EXPECT_EQ(choose_schedule(source->info(), {})->guidance, std::vector<float>(20, 1.0f));
    const auto pipeline = Pipeline::open(source, {.threads = 1}).value();
    const auto guided = pipeline->plan(small_request(7.0f));
    ASSERT_FALSE(guided);
    EXPECT_EQ(guided.error().code, ErrorCode::kInvalidArgument);
    EXPECT_THAT(guided.error().message, HasSubstr("no unconditional transformer"));
    EXPECT_TRUE(pipeline->model_hash());
  };
  for (const nlohmann::json& none :
       {nlohmann::json(nullptr), nlohmann::json::array({nullptr, nullptr})}) {
    const TinyModel model;
    model.set("model_index.json", "unconditional_transformer", none);
    model.remove("unconditional_transformer");
    one_branch(model);
  }
  const TinyModel model;
  model.edit("model_index.json",
             [](nlohmann::json& json) { json.erase("unconditional_transformer"); });
  model.remove("unconditional_transformer");
  one_branch(model);
  // Both branches, one left out.
  EXPECT_EQ(latents_of({.folder = whole.path(), .without_unconditional = true}, 1.0f), expected);
}

// Nothing is planned for a transformer that a picture does without.
TEST(ModelFiles, OneBranchTakesLessMemory) {
  const TinyModel model;
  const auto bytes = [&](bool without, float guidance) {
    const std::shared_ptr<const Model> source =
        open_model(ModelPaths{.folder = model.path(), .without_unconditional = without}).value();
    const auto pipeline = Pipeline::open(source, {.threads = 1}).value();
    return pipeline->plan(small_request(guidance))->peak_bytes();
  };
  EXPECT_LT(bytes(true, 1.0f), bytes(false, 7.0f));
  EXPECT_EQ(bytes(true, 1.0f), bytes(false, 1.0f));
}

TEST(ModelFiles, AreTakenFromElsewhere) {
  const TinyModel whole;
  const std::vector<float> expected = latents_of({.folder = whole.path()}, 4.0f);
  const TinyModel model;
  model.move("transformer", "elsewhere/t");
  model.move("unconditional_transformer", "elsewhere/u");
  model.move("text_encoder", "elsewhere/model/text_encoder");
  model.move("vae", "elsewhere/v");
  model.move("tokenizer", "elsewhere/tokens");
  EXPECT_THAT(problem(model), HasSubstr((model / "transformer").string()));
  const ModelPaths folders{.folder = model.path(),
                           .transformer = model / "elsewhere/t",
                           .unconditional = model / "elsewhere/u",
                           .text_encoder = model / "elsewhere/model",
                           .vae = model / "elsewhere/v",
                           .tokenizer = model / "elsewhere/tokens"};
  EXPECT_EQ(latents_of(folders, 4.0f), expected);
  const ModelPaths files{.folder = model.path(),
                         .transformer = model / "elsewhere/t/diffusion_pytorch_model.safetensors",
                         .unconditional = model / "elsewhere/u/diffusion_pytorch_model.safetensors",
                         .text_encoder = model / "elsewhere/model/text_encoder/model.safetensors",
                         .vae = model / "elsewhere/v/diffusion_pytorch_model.safetensors",
                         .tokenizer = model / "elsewhere/tokens/tokenizer.json"};
  EXPECT_EQ(latents_of(files, 4.0f), expected);
  const auto source = open_model(files).value();
  EXPECT_EQ(source->info().other_parts.size(), 5u);
  // The hash of the weights does not depend on where they lie.
  EXPECT_EQ(source->hash().value(), open_model({.folder = whole.path()}).value()->hash().value());
}

// The tensors of a safetensors file as GGUF; those of more dimensions than it allows are left out.
std::string as_gguf(const std::filesystem::path& path) {
  const auto file = SafetensorsFile::open(path).value();
  std::vector<const TensorEntry*> entries;
  for (const TensorEntry& entry : file->tensors())
    if (entry.view.shape.rank <= 4) entries.push_back(&entry);
  test::GgufBytes bytes(entries.size());
  uint64_t offset = 0;
  for (const TensorEntry* entry : entries) {
    std::vector<uint64_t> sizes;
    for (int i = entry->view.shape.rank; i-- > 0;)
      sizes.push_back(static_cast<uint64_t>(entry->view.shape[i]));
    uint32_t type = 0;
    while (find_ggml_type(type) == nullptr || find_ggml_type(type)->dtype != entry->view.dtype)
      ++type;
    bytes.tensor(entry->name, sizes, type, offset);
    offset += align_up(entry->view.size_bytes(), 32);
  }
  for (const TensorEntry* entry : entries) {
    const Tensor tensor = read_tensor(*entry).value();
    bytes.pad().data(std::string_view(tensor.view.as<char>(), tensor.view.size_bytes()));
  }
  return bytes.bytes();
}

// The only GGUF file of a part's folder, or one by name: the same weights, the same picture.
TEST(ModelFiles, MayBeGguf) {
  const std::vector<float> expected = latents_of({.folder = TinyModel().path()}, 4.0f);
  const TinyModel whole, model;
  ModelPaths paths{.folder = whole.path()};
  for (const auto& [file, given] : {std::pair{kTransformer, &paths.transformer},
                                    {kUnconditional, &paths.unconditional},
                                    {kText, &paths.text_encoder},
                                    {kVae, &paths.vae}}) {
    const std::string name = std::filesystem::path(file).parent_path().string() + "/any name.gguf";
    const std::string bytes = as_gguf(model / file);
    model.remove(file);
    model.write(name, bytes);
    *given = model / name;
  }
  EXPECT_EQ(latents_of({.folder = model.path()}, 4.0f), expected);
  EXPECT_EQ(latents_of(paths, 4.0f), expected);
  model.write("transformer/another.gguf", "GGUF");
  EXPECT_THAT(problem(model), HasSubstr("more than one variant of the weights"));
  EXPECT_THAT(problem(model), HasSubstr("another.gguf, any name.gguf, config.json"));
  model.remove("transformer/any name.gguf");
  EXPECT_THAT(problem(model), HasSubstr("another.gguf: 4 bytes, too short for GGUF"));
}

// A file without a config beside it has the model's.
TEST(ModelFiles, AFileAloneHasTheConfigOfTheModel) {
  const TinyModel model;
  model.move(kTransformer, "tuned.safetensors");
  const ModelPaths paths{.folder = model.path(), .transformer = model / "tuned.safetensors"};
  EXPECT_EQ(latents_of(paths, 4.0f), latents_of({.folder = TinyModel().path()}, 4.0f));
}

TEST(ModelFiles, WhatIsMissingIsNamed) {
  for (const char* part : {"transformer", "unconditional_transformer", "text_encoder", "vae",
                           "tokenizer", "scheduler"}) {
    const TinyModel model;
    model.remove(part);
    EXPECT_THAT(problem(model), HasSubstr((model / part).string())) << part;
  }
  for (const char* file : {"transformer/config.json", "unconditional_transformer/config.json",
                           "text_encoder/config.json", "vae/config.json"}) {
    const TinyModel model;
    model.remove(file);
    EXPECT_THAT(problem(model), HasSubstr((model / file).string())) << file;
  }
  const TinyModel null_part;
  null_part.set("model_index.json", "vae", nlohmann::json::array({nullptr, nullptr}));
  EXPECT_THAT(problem(null_part), HasSubstr("vae is null"));
  const TinyModel slow_tokenizer;
  slow_tokenizer.move("tokenizer/tokenizer.json", "tokenizer/vocab.json");
  EXPECT_THAT(problem(slow_tokenizer), HasSubstr("no tokenizer.json in it; there is "));
  EXPECT_THAT(problem(slow_tokenizer), HasSubstr("vocab.json"));
  const TinyModel model;
  EXPECT_THAT(problem({.folder = model.path(), .vae = model / "nowhere"}),
              HasSubstr((model / "nowhere").string()));
}

// Weights are seen by their headers when a model is opened: shapes, types, what is missing, what is
// cut short; each with its file.
TEST(ModelFiles, ProblemsOfWeightsAreSeenBeforeAnyIsRead) {
  for (const char* file : {kTransformer, kUnconditional, kText, kVae}) {
    const TinyModel cut;
    const std::string bytes = read_file(cut / file).value();
    cut.write(file, bytes.substr(0, bytes.size() - 2));
    EXPECT_THAT(problem(cut), HasSubstr((cut / file).string())) << file;

    std::string used;
    const TinyModel changed;
    changed.edit_weights(file, [&](std::vector<TinyModel::Tensor>& tensors) {
      for (TinyModel::Tensor& t : tensors) {
        const bool is_used =
            t.name.find("layers.0.") != std::string::npos || t.name.starts_with("decoder.conv_in");
        if (!is_used || t.shape.rank < 2) continue;
        used = t.name;
        t.shape = Shape{t.shape.count()};
        break;
      }
    });
    EXPECT_THAT(problem(changed), HasSubstr((changed / file).string())) << file;
    EXPECT_THAT(problem(changed), HasSubstr(used + ": found BF16 [")) << file;

    const TinyModel missing;
    missing.edit_weights(file, [&](std::vector<TinyModel::Tensor>& tensors) {
      std::erase_if(tensors, [&](const TinyModel::Tensor& t) { return t.name == used; });
    });
    EXPECT_THAT(problem(missing), HasSubstr((missing / file).string())) << file;
    EXPECT_THAT(problem(missing), HasSubstr(used + ": missing")) << file;
  }
}

TEST(ModelFiles, ProblemsOfAllPartsAreToldAtOnce) {
  const TinyModel model;
  model.write(kTransformer, "x");
  model.write(kVae, "y");
  EXPECT_THAT(problem(model), HasSubstr(kTransformer));
  EXPECT_THAT(problem(model), HasSubstr(kVae));
}

// Weights with more layers than the config has are another model's.
TEST(ModelFiles, LayersBeyondTheConfigAreRefused) {
  const auto beyond = [](const char* config, const std::function<void(nlohmann::json&)>& change,
                         const char* key) {
    const TinyModel model;
    model.edit(config, change);
    EXPECT_THAT(problem(model), HasSubstr("beyond the")) << config;
    EXPECT_THAT(problem(model), HasSubstr(key)) << config;
  };
  for (const char* config : {"transformer/config.json", "unconditional_transformer/config.json"})
    beyond(
        config, [](nlohmann::json& json) { json["num_layers"] = 2; }, "num_layers");
  beyond(
      "vae/config.json", [](nlohmann::json& json) { json["layers_per_block"] = 1; },
      "layers_per_block");
  const TinyModel without;
  without.set("vae/config.json", "mid_block_add_attention", false);
  EXPECT_THAT(problem(without), HasSubstr("mid_block_add_attention is false in the config"));
  const TinyModel model;
  model.set("model_index.json", "text_activation_layers",
            {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12});
  EXPECT_EQ(problem(model), "");  // layers after the last tap are not run
  model.edit("text_encoder/config.json",
             [](nlohmann::json& json) { json["text_config"]["num_hidden_layers"] = 13; });
  EXPECT_THAT(problem(model), HasSubstr("num_hidden_layers"));
}

// An unused tensor of any type, and a variant in the file's name, change nothing.
TEST(ModelFiles, WhatIsNotUsedDoesNotMatter) {
  const std::vector<float> expected = latents_of({.folder = TinyModel().path()}, 4.0f);
  const TinyModel model;
  for (const char* file : {kTransformer, kUnconditional, kText, kVae}) {
    const std::string bytes = read_file(model / file).value();
    uint64_t length = 0;
    std::memcpy(&length, bytes.data(), 8);
    nlohmann::json header = nlohmann::json::parse(bytes.substr(8, length));
    const size_t data = bytes.size() - 8 - length;
    header["unused.a"] = {{"dtype", "F6_E2M3"}, {"shape", {4}}, {"data_offsets", {data, data + 3}}};
    header["unused.b"] = {
        {"dtype", "NEW_9"}, {"shape", {2, 2}}, {"data_offsets", {data + 3, data + 8}}};
    const std::string text = " " + header.dump();
    length = text.size();
    std::string out(8, '\0');
    std::memcpy(out.data(), &length, 8);
    model.write(file, out + text + bytes.substr(bytes.size() - data) + "12345678");
  }
  model.move(kTransformer, "transformer/diffusion_pytorch_model.bf16.safetensors");
  EXPECT_EQ(latents_of({.folder = model.path()}, 4.0f), expected);
}

TEST(ModelFiles, UnknownSettingsAreWarnedOf) {
  const TinyModel model;
  model.set("transformer/config.json", "attention_softcap", 30.0);
  model.set("transformer/config.json", "_note", "x");
  model.set("scheduler/scheduler_config.json", "warp", 2);
  const auto source = open_model({.folder = model.path()});
  ASSERT_TRUE(source) << source.error().message;
  ASSERT_EQ((*source)->info().warnings.size(), 2u);
  EXPECT_THAT((*source)->info().warnings[0], HasSubstr("scheduler_config.json: warp"));
  EXPECT_THAT((*source)->info().warnings[1],
              HasSubstr("transformer/config.json: attention_softcap:"));
}

TEST(ModelFiles, ATokenizerOfAnotherModelIsSeen) {
  const TinyModel other_ids;
  other_ids.edit("text_encoder/config.json",
                 [](nlohmann::json& json) { json["text_config"]["vocab_size"] = 300; });
  other_ids.edit_weights(kText, [](std::vector<TinyModel::Tensor>& tensors) {
    for (TinyModel::Tensor& t : tensors) {
      if (!t.name.ends_with("embed_tokens.weight")) continue;
      t.bytes.resize(t.bytes.size() / static_cast<size_t>(t.shape[0]) * 300);
      t.shape = Shape{300, t.shape[1]};
    }
  });
  const auto pipeline = Pipeline::open(other_ids.path(), {.threads = 1});
  ASSERT_TRUE(pipeline) << pipeline.error().message;
  const auto plan = (*pipeline)->plan(small_request(4.0f));
  ASSERT_FALSE(plan);
  EXPECT_THAT(plan.error().message, HasSubstr("vocabulary of 300"));

  const TinyModel no_chat;
  no_chat.edit("tokenizer/tokenizer.json", [](nlohmann::json& json) {
    for (nlohmann::json& token : json["added_tokens"])
      if (token["content"] == "<|im_end|>") token["content"] = "<|other|>";
  });
  EXPECT_THAT(problem(no_chat), HasSubstr("tokenizer.json: \"<|im_end|>\" is no token"));
}

}  // namespace
}  // namespace intaglio
