#include "io/formats/sdnq_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <vector>

namespace intaglio {
namespace {

using testing::HasSubstr;

constexpr const char* kBegin = R"({"quant_method": "sdnq", "weights_dtype": "int8", )";

Expected<SdnqConfig> read(const std::string& rest) {
  return read_sdnq_config(JsonConfig::parse(kBegin + rest + "}", "config").value());
}

TEST(SdnqConfig, GroupsAreDerivedAsItsOwnCodeDoes) {
  EXPECT_EQ(sdnq_hadamard_group(64, 256), 64);
  EXPECT_EQ(sdnq_hadamard_group(128, 256), 128);
  EXPECT_EQ(sdnq_hadamard_group(1024, 256), 256);
  EXPECT_EQ(sdnq_hadamard_group(4608, 256), 256);
  EXPECT_EQ(sdnq_hadamard_group(208, 256), 16);
  EXPECT_EQ(sdnq_hadamard_group(100, 256), 4);
  EXPECT_EQ(sdnq_hadamard_group(6, 256), 0);
  EXPECT_EQ(sdnq_hadamard_group(3, 256), 0);
  EXPECT_EQ(sdnq_hadamard_group(64, 1), 0);
}

TEST(SdnqConfig, ModulesMayHaveTheirOwnRotation) {
  const auto config = read(R"("use_hadamard": true, "hadamard_group_size": 64,
      "modules_quant_config": {"a.b.weight": {"hadamard_group_size": 256},
                               "c.weight": {"use_hadamard": false}})");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_TRUE(config->of("a.b").used);
  EXPECT_EQ(config->of("a.b").most, 256);
  EXPECT_FALSE(config->of("c").used);
  EXPECT_TRUE(config->of("b").used);
  EXPECT_EQ(config->of("b").most, 64);
}

TEST(SdnqConfig, WhatModulesMayNotSay) {
  // Its own matcher takes each of these for any number of modules.
  for (const char* const key : {"to_q", "layers.*.weight", ".layers.0.weight"}) {
    const auto config = read(std::string(R"("modules_quant_config": {")") + key + "\": {}}");
    ASSERT_FALSE(config) << key;
    EXPECT_EQ(config.error().code, ErrorCode::kUnsupported);
    EXPECT_THAT(config.error().message, HasSubstr("found a pattern, expected"));
  }
  const auto other = read(R"("modules_quant_config": {"a.weight": {"weights_dtype": "int4"}})");
  ASSERT_FALSE(other);
  EXPECT_THAT(other.error().message, HasSubstr("weights_dtype: not known"));
}

// SDNQ takes every linear of the model's class for quantized that it is not told of.
TEST(SdnqConfig, NamesFloatsAndGroupsThatDiffer) {
  const std::vector<SdnqLinear> linears{{"a", 4608, true, 256}, {"b", 12288, true, 256},
                                        {"c", 384, true, 64},   {"d", 40, true, 0},
                                        {"e", 64, false, 0},    {"f", 208, true, 16}};
  const nlohmann::json expected = nlohmann::json::parse(R"({
    "quant_method": "sdnq", "weights_dtype": "int8", "group_size": -1, "use_hadamard": true,
    "hadamard_group_size": 256, "use_quantized_matmul": false, "dequantize_fp32": true,
    "add_skip_keys": false, "modules_to_not_convert": ["e.weight"],
    "modules_quant_config": {
      "c.weight": {"use_hadamard": true, "hadamard_group_size": 64},
      "d.weight": {"use_hadamard": false}}})");
  EXPECT_EQ(nlohmann::json::parse(sdnq_config_text(linears)), expected);
  const auto config = read_sdnq_config(JsonConfig::parse(expected.dump(), "config").value());
  ASSERT_TRUE(config) << config.error().message;
  for (const SdnqLinear& linear : linears) {
    const SdnqHadamard& own = config->of(linear.name);
    if (!linear.quantized) continue;
    EXPECT_EQ(own.used ? sdnq_hadamard_group(linear.k, own.most) : 0, linear.group) << linear.name;
  }
}

TEST(SdnqConfig, OfRowsThatAreNotTurned) {
  const std::vector<SdnqLinear> linears{{"a", 64, true, 0}, {"b", 64, true, 0}};
  const nlohmann::json config = nlohmann::json::parse(sdnq_config_text(linears));
  EXPECT_EQ(config.at("use_hadamard"), false);
  EXPECT_TRUE(config.at("modules_quant_config").empty());
  EXPECT_EQ(sdnq_config_text(std::vector<SdnqLinear>{{"a", 64, false, 0}}), "");
}

}  // namespace
}  // namespace intaglio
