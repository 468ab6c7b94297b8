#include "models/ideogram4/config.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "models/ideogram4/model.h"
#include "support/source_folder.h"

namespace intaglio::ideogram4 {
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

// What would have to change the arithmetic and does not is refused; what says the same is not.
TEST(TransformerConfig, SettingsOfOtherArithmeticAreRefused) {
  for (const auto& [key, value] : std::vector<std::pair<std::string, nlohmann::json>>{
           {"_class_name", "FluxTransformer2DModel"},
           {"hidden_act", "gelu"},
           {"norm_type", "layer_norm"},
           {"qk_norm", false},
           {"attention_bias", true},
           {"rope_scaling", {{"type", "yarn"}, {"factor", 4.0}}},
           {"out_channels", 32},
           {"norm_eps", -1e-5},
           {"norm_eps", 2},
           {"rope_theta", 0},
           {"quantization_config", {{"quant_method", "gptq"}}},
           {"guidance_embeds", true},
           {"mrope_section", {6, 6, 5}},
           {"mrope_section", {0, 7, 0}},
           {"mrope_section", {0, 0, 6}},
           {"mrope_section", {400, 300, 300}}}) {
    const auto config = parse_with(key, value);
    ASSERT_FALSE(config) << key << " = " << value;
    EXPECT_NE(config.error().message.find("config.json: " + key), std::string::npos)
        << config.error().message;
  }
  for (const auto& [key, value] : std::vector<std::pair<std::string, nlohmann::json>>{
           {"_class_name", "Ideogram4Transformer2DModel"},
           {"hidden_act", "silu"},
           {"qk_norm", "rms_norm"},
           {"rope_scaling", nullptr},
           {"out_channels", 16},
           {"_name_or_path", "x/y"},
           {"mrope_section", {0, 5, 5}},
           {"mrope_section", {4, 3, 3}},
           {"quantization_config", {{"quant_method", "bitsandbytes"}}},
           {"something_new", 7}})
    EXPECT_TRUE(parse_with(key, value)) << key << " = " << value;
}

TEST(TransformerConfig, NormEpsAndThetaAreHonoured) {
  EXPECT_FLOAT_EQ(parse_with("norm_eps", 1e-3)->norm_eps, 1e-3f);
  EXPECT_EQ(parse_with("rope_theta", 1e4)->rope_theta, 1e4);
}

Status check(ConfigKind kind, const nlohmann::json& json) {
  return Model().check_known_keys(kind, *JsonConfig::parse(json.dump(), "file.json"));
}

TEST(SchedulerConfig, OptionsThatChangeTheScheduleAreRefused) {
  for (const auto& [key, value] : std::vector<std::pair<std::string, nlohmann::json>>{
           {"_class_name", "EulerDiscreteScheduler"},
           {"use_dynamic_shifting", true},
           {"shift_terminal", 0.1},
           {"invert_sigmas", true},
           {"use_karras_sigmas", true},
           {"use_exponential_sigmas", true},
           {"use_beta_sigmas", true},
           {"stochastic_sampling", true},
           {"time_shift_type", "cubic"},
           {"prediction_type", "epsilon"}}) {
    const Status status = check(ConfigKind::kScheduler, {{key, value}});
    ASSERT_FALSE(status) << key;
    EXPECT_EQ(status.error().message.find("file.json: " + key), 0u) << status.error().message;
  }
  EXPECT_TRUE(check(ConfigKind::kScheduler, {{"time_shift_type", "linear"},
                                             {"base_shift", 0.7},
                                             {"shift_terminal", nullptr},
                                             {"shift", 3.0}}));
}

TEST(TokenizerConfig, OptionsThatChangeTokensAreRefused) {
  for (const auto& [key, value] :
       std::vector<std::pair<std::string, nlohmann::json>>{{"tokenizer_class", "T5TokenizerFast"},
                                                           {"add_bos_token", true},
                                                           {"add_eos_token", true},
                                                           {"add_prefix_space", true}})
    EXPECT_FALSE(check(ConfigKind::kTokenizer, {{key, value}})) << key;
  EXPECT_TRUE(check(ConfigKind::kTokenizer,
                    {{"tokenizer_class", "Qwen2Tokenizer"}, {"add_prefix_space", false}}));
}

TEST(ModelIndex, ClassesOfOtherModelsAreRefused) {
  const auto pair = [](const char* name) { return nlohmann::json::array({"diffusers", name}); };
  for (const auto& [part, name] : std::vector<std::pair<std::string, const char*>>{
           {"transformer", "FluxTransformer2DModel"},
           {"unconditional_transformer", "UNet2DConditionModel"},
           {"text_encoder", "T5EncoderModel"},
           {"vae", "AutoencoderKL"},
           {"scheduler", "DDIMScheduler"},
           {"tokenizer", "T5TokenizerFast"}}) {
    const Status status = check(ConfigKind::kModelIndex, {{part, pair(name)}});
    ASSERT_FALSE(status) << part;
    EXPECT_NE(status.error().message.find("file.json: " + part + ": found " + name),
              std::string::npos)
        << status.error().message;
  }
  EXPECT_FALSE(check(ConfigKind::kModelIndex, {{"_class_name", "FluxPipeline"}}));
  EXPECT_FALSE(check(ConfigKind::kModelIndex, {{"vae", "AutoencoderKLFlux2"}}));
  EXPECT_TRUE(check(ConfigKind::kModelIndex,
                    {{"_class_name", "Ideogram4Pipeline"},
                     {"unconditional_transformer", nlohmann::json::array({nullptr, nullptr})},
                     {"transformer", pair("Ideogram4Transformer2DModel")}}));
}

TEST(UnknownKeys, AreNamedByTheirPath) {
  nlohmann::json json = {
      {"text_config", {{"num_hidden_layers", 4}, {"rope_parameters", {{"rope_theta", 1e4}}}}}};
  json["text_config"]["softcap"] = 30;
  json["text_config"]["rope_parameters"]["ramp"] = 2;
  json["novelty"] = 1;
  const UnknownKeys unknown = Model().unknown_keys(ConfigKind::kTextEncoder,
                                                   *JsonConfig::parse(json.dump(), "config.json"));
  EXPECT_EQ(unknown.arithmetic, (std::vector<std::string>{"novelty", "text_config.softcap",
                                                          "text_config.rope_parameters.ramp"}));
}

// The configs at hand have no key that this program does not know.
TEST(UnknownKeys, NoneInTheModelsAtHand) {
  for (const char* model : {"models/mini", "tests/reference/data/tiny"}) {
    for (const auto& [kind, file] : std::vector<std::pair<ConfigKind, const char*>>{
             {ConfigKind::kModelIndex, "model_index.json"},
             {ConfigKind::kScheduler, "scheduler/scheduler_config.json"},
             {ConfigKind::kTokenizer, "tokenizer/tokenizer_config.json"},
             {ConfigKind::kTransformer, "transformer/config.json"},
             {ConfigKind::kTextEncoder, "text_encoder/config.json"},
             {ConfigKind::kVae, "vae/config.json"}}) {
      const auto json = JsonConfig::open(std::filesystem::path(test::source_path(model)) / file);
      ASSERT_TRUE(json) << file;
      EXPECT_TRUE(Model().check_known_keys(kind, *json)) << model << "/" << file;
      EXPECT_EQ(Model().unknown_keys(kind, *json).all, std::vector<std::string>{})
          << model << "/" << file;
    }
  }
}

constexpr const char* kText =
    R"({"text_config": {"num_hidden_layers": 36, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
  "hidden_size": 32, "intermediate_size": 64, "vocab_size": 1205, "rms_norm_eps": 1e-06, "rope_parameters": {"rope_theta": 5000000.0}}})";

TEST(TextConfig, DefaultTapsAndOverride) {
  const JsonConfig json = *JsonConfig::parse(kText, "config.json");
  const auto config = parse_text_config(json, nullptr);
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->taps, (std::vector<int64_t>{0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 33, 35}));
  EXPECT_EQ(config->feature_dim(), 13 * 32);

  const JsonConfig index =
      *JsonConfig::parse(R"({"text_activation_layers": [1, 4]})", "model_index.json");
  EXPECT_EQ(parse_text_config(json, &index)->taps, (std::vector<int64_t>{1, 4}));
  for (const char* bad :
       {R"({"text_activation_layers": [36]})", R"({"text_activation_layers": [4, 4]})",
        R"({"text_activation_layers": []})", R"({"text_activation_layers": [-1]})"}) {
    const JsonConfig bad_index = *JsonConfig::parse(bad, "model_index.json");
    EXPECT_FALSE(parse_text_config(json, &bad_index)) << bad;
  }
}

}  // namespace
}  // namespace intaglio::ideogram4
