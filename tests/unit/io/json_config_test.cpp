#include "io/json_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "support/temp_folder.h"

namespace intaglio {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

JsonConfig config(const std::string& text) {
  auto result = JsonConfig::parse(text, "c.json");
  EXPECT_TRUE(result) << text;
  return *result;
}

template <typename T>
void expect_error(const Expected<T>& result, const std::string& message) {
  ASSERT_FALSE(result) << message;
  EXPECT_EQ(result.error().code, ErrorCode::kBadFormat);
  EXPECT_THAT(result.error().message, HasSubstr(message));
}

TEST(JsonConfig, ReadsIntegers) {
  const JsonConfig c =
      config(R"({"a":5,"b":-3,"f":2.5,"s":"5","n":null,"big":18446744073709551615,"t":true})");
  EXPECT_EQ(c.integer("a", 1, 5), 5);
  EXPECT_EQ(c.integer("b", -3, 0), -3);
  EXPECT_EQ(c.integer_or("none", 9, 0, 1), 9);
  EXPECT_EQ(c.integer_or("n", 9, 0, 1), 9);
  EXPECT_EQ(c.integer_or("a", 9, 0, 5), 5);
  EXPECT_TRUE(c.contains("a"));
  EXPECT_FALSE(c.contains("n"));
  expect_error(c.integer("a", 6, 9), "c.json: a: expected an integer in [6, 9], found 5");
  expect_error(c.integer("f", 0, 9), "found 2.5");
  expect_error(c.integer("s", 0, 9), "found \"5\"");
  expect_error(c.integer("t", 0, 9), "found true");
  expect_error(c.integer("n", 0, 9), "c.json: n: missing");
  expect_error(c.integer("big", INT64_MIN, INT64_MAX), "found 18446744073709551615");
  expect_error(c.integer_or("s", 1, 0, 9), "found \"5\"");
}

TEST(JsonConfig, ReadsOtherTypes) {
  const JsonConfig c =
      config(R"({"x":1.5,"i":2,"s":"text","t":true,"l":[1,2],"m":[1,"2"],"o":{"p":{"q":"bad"}}})");
  EXPECT_EQ(c.number("x"), 1.5);
  EXPECT_EQ(c.number("i"), 2.0);
  EXPECT_EQ(c.number_or("none", 0.5), 0.5);
  EXPECT_EQ(c.string_or("s", ""), "text");
  EXPECT_EQ(c.string_or("none", "d"), "d");
  EXPECT_EQ(c.boolean_or("t", false), true);
  EXPECT_THAT(*c.integers("l", 0, 2, 2), ElementsAre(1, 2));
  expect_error(c.number("s"), "expected a number, found \"text\"");
  expect_error(c.number("none"), "missing");
  expect_error(c.string_or("x", ""), "expected a string");
  expect_error(c.boolean_or("i", false), "expected true or false, found 2");
  expect_error(c.integers("l", 0, 2, 1), "at most 1 integers, found an array of 2");
  expect_error(c.integers("l", 0, 1, 9), "c.json: l[1]: expected an integer in [0, 1], found 2");
  expect_error(c.integers("m", 0, 9, 9), "m[1]");
  expect_error(c.integers("none", 0, 9, 9), "found nothing");
  const auto nested = c.object("o")->object("p");
  expect_error(nested->integer("q", 0, 1), "c.json: o.p.q: expected an integer");
  expect_error(c.object("x"), "expected an object");
  expect_error(c.object("none"), "found nothing");
}

TEST(JsonConfig, RefusesWhatIsNotAJsonObject) {
  for (const char* text : {"", "[]", "1", "null", "{", "{\"a\":1}}", "{\"a\":NaN}", "{\"a\":1e999}",
                           "{'a':1}", "\xff"}) {
    expect_error(JsonConfig::parse(text, "c.json"), "c.json: ");
  }
  expect_error(JsonConfig::parse("{\"a\":" + std::string(1'000'000, '['), "c.json"), "nested");
  expect_error(
      JsonConfig::parse("{\"a\":" + std::string(101, '[') + std::string(101, ']') + "}", "c.json"),
      "nested");
  // Not the end of the text.
  expect_error(JsonConfig::parse(std::string_view("{\"a\":1}\0x", 9), "c.json"),
               "c.json: not valid JSON at line 1, column 8");
  const std::string brackets(200, '[');  // in strings, before and after an escaped quote
  EXPECT_TRUE(JsonConfig::parse(R"({"a":")" + brackets + R"(\")" + brackets + R"("})", "c.json"));
}

TEST(ParseJson, TakesAnyValue) {
  EXPECT_EQ(parse_json("[1, 2]", "x")->size(), 2u);
  EXPECT_EQ(*parse_json("3", "x"), 3);
  expect_error(parse_json("[1,", "x"), "x: not valid JSON at line 1, column 4");
  expect_error(parse_json("{\n  \"a\": 1,\n  b\n}", "x"), "x: not valid JSON at line 3, column 3");
  expect_error(parse_json("[1e999]", "x"), "x: not valid JSON: a number is too large");
  expect_error(parse_json(std::string(101, '['), "x"), "nested");
}

TEST(JsonConfig, OpensFiles) {
  const TempFolder folder;
  EXPECT_EQ(JsonConfig::open(folder.write("a.json", R"({"k":1})"))->integer("k", 0, 1), 1);
  EXPECT_EQ(JsonConfig::open(folder / "none.json").error().code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace intaglio
