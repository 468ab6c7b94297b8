#include "eval/towers/image_reward.h"

#include "support/temp_folder.h"
#include "support/tested_cpus.h"
#include "unit/eval/towers/tower_reference.h"

namespace intaglio::towers {
namespace {

ImageReward open(const test::TowerReference& reference, const Context& context) {
  auto model = ImageReward::open(context, reference.folder());
  if (!model) throw std::runtime_error(model.error().message);
  return std::move(*model);
}

TEST(ImageReward, token_ids_are_the_published_ones) {
  const test::TowerReference reference("image_reward");
  const nlohmann::json& notes = reference.notes();
  const ImageReward model = open(reference, test::host_context());
  for (size_t i = 0; i < notes["prompts"].size(); ++i)
    EXPECT_EQ(model.tokenizer()
                  .encode(notes["prompts"][i].get<std::string>(), ImageReward::kMaxTokens)
                  .value(),
              notes["ids"][i].get<std::vector<int32_t>>())
        << notes["prompts"][i];
}

TEST(ImageReward, towers_and_rewards_equal_the_published_ones) {
  const test::TowerReference reference("image_reward");
  const nlohmann::json& notes = reference.notes();
  for (const CpuFeatures& cpu : test::tested_cpus()) {
    ImageReward model = open(reference, {.threads = 2, .cpu = cpu});
    std::vector<Matrix> states;
    std::vector<float> first_two;
    for (int i = 0; i < 4; ++i) {
      auto found = model.picture_states(reference.pixels(fmt::format("pixels.{}", i), 64));
      ASSERT_TRUE(found) << found.error().message;
      if (i < 2) first_two.insert(first_two.end(), found->values.begin(), found->values.end());
      states.push_back(std::move(*found));
    }
    EXPECT_LT(test::difference(first_two, reference.floats("image_states")), 1e-4);
    for (size_t i = 0; i < notes["ids"].size(); ++i) {
      const auto ids = notes["ids"][i].get<std::vector<int32_t>>();
      const std::vector<float> rewards = reference.floats(fmt::format("rewards.{}", i));
      for (size_t j = 0; j < states.size(); ++j) {
        EXPECT_NEAR(model.reward(ids, states[j]).value(), rewards[j], 1e-4);
        const RgbImage picture = reference.picture(fmt::format("picture.{}", j));
        const auto text = notes["prompts"][i].get<std::string>();
        EXPECT_NEAR(model.reward(text, picture).value(), rewards[j], 1e-3);
      }
    }
  }
}

TEST(ImageReward, says_what_is_wrong_with_its_folder) {
  const test::TowerReference reference("image_reward");
  const TempFolder folder;
  const auto message = [&] {
    const auto model = ImageReward::open(test::host_context(), folder.path());
    return model ? std::string() : model.error().message;
  };
  const auto says = [&](const std::string& expected) {
    const std::string found = message();
    EXPECT_NE(found.find(expected), std::string::npos) << found;
  };
  ASSERT_TRUE(write_file_atomic(folder.path() / "ImageReward.pt", "PK"));
  says("torch.load(\"ImageReward.pt\"");
  std::filesystem::copy_file(reference.folder() / "model.safetensors",
                             folder.path() / "ImageReward.safetensors");
  says("med_config.json");
  std::filesystem::copy_file(reference.folder() / "med_config.json",
                             folder.path() / "med_config.json");
  says("vocab.txt");
  ASSERT_TRUE(write_file_atomic(folder.path() / "vocab.txt", "[CLS]\n[SEP]\n"));
  says("[UNK]");
  ASSERT_TRUE(write_file_atomic(folder.path() / "vocab.txt", "[CLS]\n[SEP]\n[UNK]\n[SEP]\n"));
  says("twice");
  ASSERT_TRUE(write_file_atomic(folder.path() / "vocab.txt", "[CLS]\n[SEP]\n[UNK]\n"));
  says("5 tokens");
}

}  // namespace
}  // namespace intaglio::towers
