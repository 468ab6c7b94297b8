#include "eval/towers/clip_model.h"

#include "support/temp_folder.h"
#include "support/tested_cpus.h"
#include "unit/eval/towers/tower_reference.h"

namespace intaglio::towers {
namespace {

ClipModel open(const test::TowerReference& reference, const Context& context) {
  auto model = ClipModel::open(context, reference.folder());
  if (!model) throw std::runtime_error(model.error().message);
  return std::move(*model);
}

class ClipReference : public testing::TestWithParam<const char*> {};

TEST_P(ClipReference, token_ids_are_the_published_ones) {
  const test::TowerReference reference(GetParam());
  const nlohmann::json& notes = reference.notes();
  const auto tokenizer = ClipTokenizer::open(reference.folder());
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  for (size_t i = 0; i < notes["prompts"].size(); ++i)
    EXPECT_EQ(tokenizer->encode(notes["prompts"][i].get<std::string>(), 77).value(),
              notes["ids"][i].get<std::vector<int32_t>>())
        << notes["prompts"][i];
}

TEST_P(ClipReference, towers_equal_the_published_ones) {
  const test::TowerReference reference(GetParam());
  const nlohmann::json& notes = reference.notes();
  for (const CpuFeatures& cpu : test::tested_cpus()) {
    ClipModel model = open(reference, {.threads = 2, .cpu = cpu});
    const int64_t side = model.rule().crop;
    std::vector<float> images;
    std::vector<std::vector<float>> each;
    for (int i = 0; i < 4; ++i) {
      const auto found = model.image_embedding(reference.pixels(fmt::format("pixels.{}", i), side));
      ASSERT_TRUE(found) << found.error().message;
      images.insert(images.end(), found->begin(), found->end());
      each.push_back(unit(*found));
    }
    EXPECT_LT(test::difference(images, reference.floats("image_embeds")), 1e-4);
    for (size_t i = 0; i < notes["prompts"].size(); ++i) {
      const auto found = model.text_embedding(notes["prompts"][i].get<std::string>());
      ASSERT_TRUE(found) << found.error().message;
      EXPECT_LT(test::difference(*found, reference.floats(fmt::format("text_embeds.{}", i))), 1e-4)
          << notes["prompts"][i];
      const std::vector<float> logits = reference.floats(fmt::format("logits.{}", i));
      for (size_t j = 0; j < each.size(); ++j)
        EXPECT_NEAR(model.scale() * dot(each[j], unit(*found)), logits[j], 1e-3);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, ClipReference, testing::Values("clip", "pickscore"),
                         [](const auto& info) { return std::string(info.param); });

// One tokenizer.json instead of two files.
TEST(ClipTokenizer, reads_a_tokenizer_json_too) {
  const test::TowerReference reference("clip");
  const auto two = ClipTokenizer::open(reference.folder());
  ASSERT_TRUE(two);
  nlohmann::json model{
      {"vocab", nlohmann::json::parse(read_file(reference.folder() / "vocab.json").value())},
      {"merges", nlohmann::json::array()}};
  const std::string merges = read_file(reference.folder() / "merges.txt").value();
  for (size_t at = merges.find('\n') + 1; at < merges.size();) {
    const size_t end = merges.find('\n', at);
    const std::string line = merges.substr(at, end - at);
    const size_t space = line.find(' ');
    if (model["merges"].size() % 2 == 0) {
      model["merges"].push_back(line);
    } else {
      model["merges"].push_back({line.substr(0, space), line.substr(space + 1)});
    }
    at = end + 1;
  }
  const TempFolder folder;
  ASSERT_TRUE(
      write_file_atomic(folder.path() / "tokenizer.json", nlohmann::json{{"model", model}}.dump()));
  const auto one = ClipTokenizer::open(folder.path());
  ASSERT_TRUE(one) << one.error().message;
  for (const auto& prompt : reference.notes()["prompts"])
    EXPECT_EQ(one->encode(prompt.get<std::string>(), 77).value(),
              two->encode(prompt.get<std::string>(), 77).value());
}

TEST(ClipTokenizer, says_what_is_wrong_with_its_files) {
  const TempFolder folder;
  const auto message = [&](const std::string& vocabulary, const std::string& merges) {
    EXPECT_TRUE(write_file_atomic(folder.path() / "vocab.json", vocabulary));
    EXPECT_TRUE(write_file_atomic(folder.path() / "merges.txt", merges));
    const auto tokenizer = ClipTokenizer::open(folder.path());
    return tokenizer ? std::string() : tokenizer.error().message;
  };
  const auto none = ClipTokenizer::open(folder.path() / "nothing");
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, ErrorCode::kNotFound);
  EXPECT_NE(message("[]", "").find("vocab.json"), std::string::npos);
  EXPECT_NE(message(R"({"a": -1})", "").find("-1"), std::string::npos);
  EXPECT_NE(message(R"({"a": 1})", "").find("<|startoftext|>"), std::string::npos);
  EXPECT_NE(message(R"({"<|startoftext|>": 0, "<|endoftext|>": 1})", "").find("0x00"),
            std::string::npos);
  const test::TowerReference reference("clip");
  const std::string vocabulary = read_file(reference.folder() / "vocab.json").value();
  EXPECT_EQ(message(vocabulary, "#version: 0.2\n"), "");
  EXPECT_NE(message(vocabulary, "ab\n").find("merges.txt"), std::string::npos);
  EXPECT_NE(message(vocabulary, "q q\n").find("\"q q\""), std::string::npos);
}

TEST(ClipModel, says_what_is_wrong_with_its_folder) {
  const test::TowerReference reference("clip");
  const TempFolder folder;
  for (const char* const name : {"model.safetensors", "vocab.json", "merges.txt"})
    std::filesystem::copy_file(reference.folder() / name, folder.path() / name);
  const nlohmann::json config =
      nlohmann::json::parse(read_file(reference.folder() / "config.json").value());
  const auto message = [&](const char* part, const char* key, const nlohmann::json& value) {
    nlohmann::json changed = config;
    (*part == '\0' ? changed : changed[part])[key] = value;
    EXPECT_TRUE(write_file_atomic(folder.path() / "config.json", changed.dump()));
    const auto model = ClipModel::open(test::host_context(), folder.path());
    return model ? std::string() : model.error().message;
  };
  const auto says = [&](const std::string& found, const std::string& expected) {
    EXPECT_NE(found.find(expected), std::string::npos) << found;
  };
  EXPECT_EQ(message("", "projection_dim", 32), "");
  says(message("", "model_type", "siglip"), "siglip");
  says(message("", "projection_dim", 33), "text_projection.weight is [32, 40], expected [33, 40]");
  says(message("vision_config", "hidden_act", "tanh"), "vision_config");
  says(message("vision_config", "num_attention_heads", 5), "48 with 5 heads");
  says(message("vision_config", "num_hidden_layers", 1), "vision_model.encoder.layers.1.");
  says(message("vision_config", "num_hidden_layers", 3), "vision_model.encoder.layers.2.");
  says(message("vision_config", "image_size", 43), "43");
  says(message("text_config", "vocab_size", 500), "[584, 40], expected [500, 40]");
  says(message("text_config", "hidden_size", -1), "hidden_size");
  // What stands a second time decides.
  says(message("", "text_config_dict", {{"hidden_act", "tanh"}}), "tanh");
  std::filesystem::rename(folder.path() / "model.safetensors", folder.path() / "model.bin");
  says(message("", "projection_dim", 32), "save_file");
}

}  // namespace
}  // namespace intaglio::towers
