#include "prompts.h"

#include <gtest/gtest.h>

namespace intaglio::cli {
namespace {

std::vector<PromptLine> good(std::string_view text) {
  std::vector<Error> errors;
  std::vector<PromptLine> lines = parse_prompts(text, "list", errors);
  for (const Error& error : errors) ADD_FAILURE() << error.message;
  return lines;
}

std::string wrong(std::string_view text) {
  std::vector<Error> errors;
  parse_prompts(text, "list", errors);
  if (errors.size() != 1) return "expected one error";
  EXPECT_EQ(errors.front().code, ErrorCode::kInvalidArgument);
  return errors.front().message;
}

TEST(parse_prompts, one_a_line_without_blank_ones) {
  const auto lines = good("a cat\n\n \t\r\na dog\r\n{red|blue} bird");
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0].settings.prompt, "a cat");
  EXPECT_EQ(lines[1].settings.prompt, "a dog");
  EXPECT_EQ(lines[1].where, "list:4");
  EXPECT_EQ(lines[2].settings.prompt, "{red|blue} bird");
  EXPECT_EQ(lines[2].settings.seed, std::nullopt);
}

TEST(parse_prompts, lines_of_json_with_their_own_settings) {
  const auto lines = good(
      " { \"prompt\": \"a\", \"seed\": 18446744073709551615, \"steps\": 4, \"guidance\": [7, "
      "2.5]}\n"
      "{\"prompt\": {\"b\": 1}, \"guidance\": \"7x3\", \"size\": \"64x64\", \"output\": "
      "\"o.png\"}");
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0].settings.seed, "18446744073709551615");
  EXPECT_EQ(lines[0].settings.steps, "4");
  EXPECT_EQ(lines[0].settings.guidance, "7,2.5");
  EXPECT_EQ(lines[1].settings.prompt, "{\"b\":1}");
  EXPECT_EQ(lines[1].settings.guidance, "7x3");
  EXPECT_EQ(lines[1].settings.size, "64x64");
  EXPECT_EQ(lines[1].settings.output, "o.png");
}

TEST(parse_prompts, tells_what_is_wrong_and_where) {
  EXPECT_EQ(wrong(""), "list: no prompts in it");
  EXPECT_EQ(wrong("\n \n"), "list: no prompts in it");
  EXPECT_EQ(wrong("a\n\xff\n"), "list:2: the prompt is not UTF-8 text");
  EXPECT_EQ(wrong(std::string_view("a\0b", 3)), "list:1: the prompt holds a zero byte");
  EXPECT_EQ(wrong("{\"prompt\": }"), "list:1: not valid JSON at column 12");
  EXPECT_EQ(wrong("{\"prompt\": \"a\"}\ncat"), "list:2: not valid JSON at column 1");
  EXPECT_EQ(wrong("{\"seed\": 1}"), "list:1: no \"prompt\" in the object");
  EXPECT_EQ(wrong("{\"prompt\": \"a\", \"sede\": 1}"),
            "list:1: unknown key \"sede\", expected prompt, negative_prompt, seed, size, preset, "
            "steps, mu, std, shift, guidance, cache, progressive, output, nearest: seed");
  EXPECT_EQ(wrong("{\"prompt\": \"a\", \"steps\": null}"),
            "list:1: \"steps\": expected what --steps takes, found null");
  EXPECT_EQ(wrong("{\"prompt\": \"a\", \"size\": \"\"}"),
            "list:1: \"size\": expected what --size takes, found an empty text");
  EXPECT_EQ(wrong("{\"prompt\": \"a\", \"guidance\": [1, \"2\"]}"),
            "list:1: \"guidance\": expected what --guidance takes, found a list");
}

TEST(parse_prompts, lists_ten_wrong_lines) {
  std::string text = "{\"prompt\": \"a\"}\n";
  for (int i = 0; i < 100; ++i) text += "[]\n";
  std::vector<Error> errors;
  EXPECT_EQ(parse_prompts(text, "list", errors).size(), 1u);
  ASSERT_EQ(errors.size(), 11u);
  EXPECT_EQ(errors.back().message, "list: 90 more lines are wrong");
}

TEST(prompt_file, tells_files_from_texts) {
  EXPECT_EQ(prompt_file("cat"), std::nullopt);
  EXPECT_EQ(prompt_file("@@cat"), std::nullopt);
  EXPECT_EQ(prompt_file("@cat"), "cat");
  EXPECT_EQ(prompt_file("-"), "-");
  EXPECT_EQ(prompt_file("@-"), "-");
  EXPECT_EQ(read_prompt("@@cat"), "@cat");
  EXPECT_EQ(read_prompt("@@@cat"), "@@cat");
}

}  // namespace
}  // namespace intaglio::cli
