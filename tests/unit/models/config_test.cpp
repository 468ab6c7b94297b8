#include "models/ideogram4/config.h"

#include <gtest/gtest.h>

namespace intaglio {
namespace {

constexpr const char* kTransformer =
    R"({"num_layers": 2, "num_attention_heads": 4, "attention_head_dim": 32, "intermediate_size": 256,
  "adaln_dim": 64, "in_channels": 16, "llm_features_dim": 416, "mrope_section": [6, 5, 5], "rope_theta": 5000000, "norm_eps": 1e-05})";

Expected<TransformerConfig> parse_with(const std::string& key, const nlohmann::json& value) {
  nlohmann::json json = nlohmann::json::parse(kTransformer);
  json[key] = value;
  return parse_transformer_config(*JsonConfig::parse(json.dump(), "config.json"));
}

TEST(TransformerConfig, ReadsEverySize) {
  const auto config = parse_transformer_config(*JsonConfig::parse(kTransformer, "config.json"));
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->layers, 2);
  EXPECT_EQ(config->width(), 128);
  EXPECT_EQ(config->intermediate, 256);
  EXPECT_EQ(config->adaln_dim, 64);
  EXPECT_EQ(config->channels, 16);
  EXPECT_EQ(config->text_dim, 416);
  EXPECT_EQ(config->mrope_section, (std::array<int64_t, 3>{6, 5, 5}));
  EXPECT_EQ(config->rope_theta, 5e6);
  EXPECT_FLOAT_EQ(config->norm_eps, 1e-5f);
}

TEST(TransformerConfig, RefusesWhatCannotBe) {
  const std::vector<std::pair<std::string, nlohmann::json>> bad{{"num_layers", 0},
                                                                {"num_layers", "two"},
                                                                {"num_layers", nullptr},
                                                                {"attention_head_dim", 33},
                                                                {"in_channels", 6},
                                                                {"mrope_section", {1, 2}},
                                                                {"mrope_section", "x"},
                                                                {"rope_theta", -1},
                                                                {"num_attention_heads", -4},
                                                                {"intermediate_size", 1e30},
                                                                {"num_attention_heads", 1048576}};
  for (const auto& [key, value] : bad) {
    const auto config = parse_with(key, value);
    ASSERT_FALSE(config) << key << " = " << value;
    EXPECT_NE(config.error().message.find(key == "num_attention_heads" && value == 1048576 ? "width"
                                                                                           : key),
              std::string::npos)
        << config.error().message;
  }
}

constexpr const char* kText =
    R"({"text_config": {"num_hidden_layers": 36, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
  "hidden_size": 32, "intermediate_size": 64, "vocab_size": 1205, "rms_norm_eps": 1e-06, "rope_parameters": {"rope_theta": 5000000.0}}})";

TEST(TextEncoderConfig, DefaultTapsAndOverride) {
  const JsonConfig json = *JsonConfig::parse(kText, "config.json");
  const auto config = parse_text_encoder_config(json, nullptr);
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->taps, (std::vector<int64_t>{0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 33, 35}));
  EXPECT_EQ(config->feature_dim(), 13 * 32);

  const JsonConfig index =
      *JsonConfig::parse(R"({"text_activation_layers": [1, 4]})", "model_index.json");
  EXPECT_EQ(parse_text_encoder_config(json, &index)->taps, (std::vector<int64_t>{1, 4}));
  for (const char* bad :
       {R"({"text_activation_layers": [36]})", R"({"text_activation_layers": [4, 4]})",
        R"({"text_activation_layers": []})", R"({"text_activation_layers": [-1]})"}) {
    const JsonConfig bad_index = *JsonConfig::parse(bad, "model_index.json");
    EXPECT_FALSE(parse_text_encoder_config(json, &bad_index)) << bad;
  }
}

TEST(TextEncoderConfig, RefusesWhatCannotBe) {
  for (const auto& [key, value] :
       std::vector<std::pair<std::string, nlohmann::json>>{{"num_key_value_heads", 3},
                                                           {"head_dim", 15},
                                                           {"vocab_size", 0},
                                                           {"rope_parameters", nullptr}}) {
    nlohmann::json json = nlohmann::json::parse(kText);
    json["text_config"][key] = value;
    EXPECT_FALSE(parse_text_encoder_config(*JsonConfig::parse(json.dump(), "config.json"), nullptr))
        << key;
  }
}

}  // namespace
}  // namespace intaglio
