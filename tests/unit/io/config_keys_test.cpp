#include "io/config_keys.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace intaglio {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr ConfigKey kTable[] = {
    {"layers"},
    {"act", KeyRole::kOnly, R"(["silu", "swish"])", "no other is built"},
    {"bias", KeyRole::kOnly, "[false]"},
    {"scaling", KeyRole::kOnly, "[]"},
    {"factor", KeyRole::kOnly, "[1]"},
    {"dtype", KeyRole::kHarmless}};

std::vector<KeyedConfig> config(const std::string& text, const std::string& prefix = {}) {
  return {{*JsonConfig::parse(text, "c.json"), kTable, prefix}};
}

TEST(ConfigKeys, SupportedValuesPass) {
  for (const char* text :
       {"{}", R"({"act": "silu"})", R"({"act": "swish", "bias": false, "scaling": null})",
        R"({"act": null, "factor": 1.0, "dtype": 7, "layers": "x"})"})
    EXPECT_TRUE(check_config_keys(config(text))) << text;
}

TEST(ConfigKeys, EveryOtherValueIsToldAtOnce) {
  const Status status = check_config_keys(
      config(R"({"act": "gelu", "bias": true, "scaling": {"type": "yarn"}, "factor": 1.5})"));
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kUnsupported);
  for (const char* part :
       {R"(c.json: act: found "gelu", supported is "silu" or "swish": no other is built)",
        "c.json: bias: found true, supported is false", "c.json: factor: found 1.5, supported is 1",
        R"(c.json: scaling: found {"type":"yarn"}, supported is null)"})
    EXPECT_THAT(status.error().message, HasSubstr(part));
}

TEST(ConfigKeys, UnknownKeysAreArithmeticUnlessTheySayNothing) {
  const UnknownKeys unknown = unknown_config_keys(
      config(R"({"layers": 1, "softcap": 30.0, "_note": 5, "off": false, "none": null, "empty": {},
                 "blank": "", "mode": "fast", "on": true, "zero": 0})",
             "text."));
  EXPECT_THAT(unknown.all,
              ElementsAre("text._note", "text.blank", "text.empty", "text.mode", "text.none",
                          "text.off", "text.on", "text.softcap", "text.zero"));
  EXPECT_THAT(unknown.arithmetic, ElementsAre("text.mode", "text.on", "text.softcap", "text.zero"));
}

TEST(ConfigKeys, NestedPartsAreToldWithTheOthers) {
  std::vector<KeyedConfig> parts = config(R"({"act": "gelu", "x": 1})");
  parts.push_back(config(R"({"bias": true, "y": 1})", "text.").front());
  const Status status = check_config_keys(parts);
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message, HasSubstr("act: found"));
  EXPECT_THAT(status.error().message, HasSubstr("bias: found"));
  EXPECT_THAT(unknown_config_keys(parts).all, ElementsAre("x", "text.y"));
}

}  // namespace
}  // namespace intaglio
