#include "models/qwen3/config.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace intaglio::qwen3 {
namespace {

constexpr const char* kText =
    R"({"text_config": {"num_hidden_layers": 36, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
  "hidden_size": 32, "intermediate_size": 64, "vocab_size": 1205, "rms_norm_eps": 1e-06, "rope_parameters": {"rope_theta": 5000000.0}}})";

TEST(TextEncoderConfig, TapsAreAscendingLayers) {
  TextEncoderConfig config =
      parse_text_encoder_config(*JsonConfig::parse(kText, "config.json")).value();
  EXPECT_TRUE(set_taps({34}, "taps", config));
  EXPECT_EQ(config.feature_dim(), 32);
  for (const std::vector<int64_t>& bad :
       std::vector<std::vector<int64_t>>{{36}, {4, 4}, {}, {-1}}) {
    const Status refused = set_taps(bad, "taps", config);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().message.find("taps"), 0u) << refused.error().message;
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
    EXPECT_FALSE(parse_text_encoder_config(*JsonConfig::parse(json.dump(), "config.json"))) << key;
  }
}

Expected<TextEncoderConfig> parse_text_with(const std::string& key, const nlohmann::json& value) {
  nlohmann::json json = nlohmann::json::parse(kText);
  json.at("text_config")[key] = value;
  return parse_text_encoder_config(*JsonConfig::parse(json.dump(), "config.json"));
}

TEST(TextEncoderConfig, SettingsOfOtherArithmeticAreRefused) {
  for (const auto& [key, value] : std::vector<std::pair<std::string, nlohmann::json>>{
           {"hidden_act", "gelu_pytorch_tanh"},
           {"attention_bias", true},
           {"model_type", "qwen2"},
           {"use_qk_norm", false},
           {"sliding_window", 512},
           {"layer_types", {"full_attention", "sliding_attention"}},
           {"rope_parameters", {{"rope_theta", 1e4}, {"rope_type", "yarn"}, {"factor", 2.0}}},
           {"rope_parameters", {{"rope_theta", 1e4}, {"type", "linear"}}},
           {"rope_parameters", {{"rope_theta", 1e4}, {"mrope_section", {24, 20, 20}}}},
           {"rope_parameters", {{"rope_theta", -1.0}}},
           {"rope_theta", 1e4},  // beside another in rope_parameters
           {"rms_norm_eps", 1.0},
           {"num_experts", 8},
           {"quantization_config", {{"quant_method", "gptq"}}}}) {
    const auto config = parse_text_with(key, value);
    ASSERT_FALSE(config) << key << " = " << value;
    EXPECT_NE(config.error().message.find("config.json: text_config."), std::string::npos)
        << config.error().message;
    EXPECT_NE(config.error().message.find(key), std::string::npos) << config.error().message;
  }
  for (const auto& [key, value] : std::vector<std::pair<std::string, nlohmann::json>>{
           {"tie_word_embeddings", true},
           {"sliding_window", nullptr},
           {"sliding_window", 4096},
           {"layer_types", {"full_attention"}},
           {"rope_theta", 5e6},
           {"max_position_embeddings", 128},
           {"rope_scaling", {{"rope_type", "default"}, {"mrope_section", {4, 2, 2}}}}})
    EXPECT_TRUE(parse_text_with(key, value)) << key << " = " << value;
}

// Which has biases and no norms of heads, says its config by a name alone, within or around. Its
// sections are stretches of a head, of which text needs to know nothing.
TEST(TextEncoderConfig, Qwen2_5IsToldByItsName) {
  const auto parse = [](const nlohmann::json& json) {
    return parse_text_encoder_config(*JsonConfig::parse(json.dump(), "config.json")).value();
  };
  EXPECT_TRUE(parse(nlohmann::json::parse(kText)).qk_norm);
  EXPECT_FALSE(parse(nlohmann::json::parse(kText)).qkv_bias);
  for (const char* const type : {"qwen3_vl_text", "qwen2_5_vl_text"}) {
    for (const bool around : {true, false}) {
      nlohmann::json json = nlohmann::json::parse(kText);
      (around ? json : json["text_config"])["model_type"] = type;
      const bool is_qwen2_5 = std::string(type).starts_with("qwen2_5");
      EXPECT_EQ(parse(json).qkv_bias, is_qwen2_5) << type;
      EXPECT_EQ(parse(json).qk_norm, !is_qwen2_5) << type;
    }
  }
  nlohmann::json json = nlohmann::json::parse(kText);
  json["architectures"] = {"Qwen2_5_VLForConditionalGeneration"};
  json["text_config"]["rope_parameters"]["mrope_section"] = {2, 3, 3};  // 8 frequencies
  EXPECT_TRUE(parse(json).qkv_bias);
}

// A window that is switched off is none.
TEST(TextEncoderConfig, AWindowMayBeSwitchedOff) {
  nlohmann::json json = nlohmann::json::parse(kText);
  json["text_config"]["sliding_window"] = 512;
  json["text_config"]["use_sliding_window"] = false;
  EXPECT_TRUE(parse_text_encoder_config(*JsonConfig::parse(json.dump(), "config.json")));
}

TEST(TextEncoderConfig, SettingsAroundTheTextAreNotTheOnesThatCount) {
  nlohmann::json json = nlohmann::json::parse(kText);
  json["hidden_act"] = "gelu";
  json["vision_config"] = {{"hidden_act", "gelu"}, {"softcap", 3}};
  EXPECT_TRUE(parse_text_encoder_config(*JsonConfig::parse(json.dump(), "config.json")));
  json["architectures"] = {"Qwen2VLModel"};
  const auto other = parse_text_encoder_config(*JsonConfig::parse(json.dump(), "config.json"));
  ASSERT_FALSE(other);
  EXPECT_NE(other.error().message.find("architectures"), std::string::npos);
}

}  // namespace
}  // namespace intaglio::qwen3
