// What a model says it can draw: read with bounds, printed within the terminal's columns.
#include "inspect/prompt_help.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "support/source_folder.h"

namespace intaglio::cli {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class PromptHelpTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) /
              ("prompt_help_" + std::to_string(::testing::UnitTest::GetInstance()->random_seed()) +
               testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  void write(const std::string& text) { std::ofstream(folder_ / "vocabulary.json") << text; }
  std::string refusal(const std::string& text) {
    write(text);
    const auto help = read_prompt_help(folder_);
    return help ? "" : help.error().message;
  }
  fs::path folder_;
};

TEST_F(PromptHelpTest, AModelWithoutItHasNone) {
  const auto help = read_prompt_help(folder_);
  ASSERT_TRUE(help);
  EXPECT_FALSE(help->has_value());
}

TEST_F(PromptHelpTest, SectionsKeepTheirOrder) {
  write(R"({"about": "b", "sections": [{"title": "z", "values": ["2", "1"]},
                                        {"title": "a", "values": ["3"]}]})");
  const auto help = read_prompt_help(folder_);
  ASSERT_TRUE(help);
  ASSERT_TRUE(help->has_value());
  EXPECT_EQ((*help)->about, "b");
  ASSERT_EQ((*help)->sections.size(), 2u);
  EXPECT_EQ((*help)->sections[0].title, "z");
  EXPECT_THAT((*help)->sections[0].values, testing::ElementsAre("2", "1"));
  EXPECT_EQ(prompt_help_json(**help).dump(),
            R"({"about":"b","sections":[{"title":"z","values":["2","1"]},)"
            R"({"title":"a","values":["3"]}]})");
}

TEST_F(PromptHelpTest, WhatIsWrongIsNamed) {
  const std::string file = (folder_ / "vocabulary.json").string();
  EXPECT_THAT(refusal("{"), HasSubstr(file));
  EXPECT_EQ(refusal(R"({"sections": []})"), file + ": about: expected a text");
  EXPECT_THAT(refusal(R"({"about": "a"})"), HasSubstr("sections: expected a list of 1 to 64"));
  EXPECT_THAT(refusal(R"({"about": "a", "sections": [3]})"),
              HasSubstr("sections[0]: found number, expected an object"));
  EXPECT_THAT(refusal(R"({"about": "a", "sections": [{"title": "t", "values": []}]})"),
              HasSubstr("sections[0]: values: expected 1 to 4096 texts"));
  EXPECT_THAT(refusal(R"({"about": "a", "sections": [{"title": "t", "values": ["v", 1]}]})"),
              HasSubstr("values: found number, expected texts"));
}

TEST(PromptHelpText, WrapsValuesAndKeepsThemWhole) {
  const PromptHelp help{.about = "small",
                        .sections = {{.title = "objects", .values = {"hot dog", "ox", "a b c d e"}},
                                     {.title = "cannot", .values = {"x, y"}}}};
  EXPECT_EQ(prompt_help_text(help, 18),
            "what it draws:\n    small\n  objects (3):\n    hot dog, ox,\n    a b c d e\n"
            "  cannot:\n    x, y\n");
}

TEST(PromptHelpText, NothingOfTheFileReachesATerminalRaw) {
  const PromptHelp help{.about = "\x1b]0;title\x07", .sections = {{"t\ne", {"a\x1b[31m"}}}};
  const std::string text = prompt_help_text(help, 80);
  EXPECT_EQ(text.find('\x1b'), std::string::npos) << text;
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 4) << text;
}

TEST(PromptHelpText, TheBundledModelFitsEightyColumns) {
  const auto help = read_prompt_help(test::source_path("models/mini"));
  ASSERT_TRUE(help) << help.error().message;
  ASSERT_TRUE(help->has_value());
  std::istringstream lines(prompt_help_text(**help, 80));
  size_t count = 0;
  for (std::string line; std::getline(lines, line); ++count)
    EXPECT_TRUE(line.size() <= 80 || line.starts_with("    {\"")) << line;
  EXPECT_GT(count, 60u);
}

}  // namespace
}  // namespace intaglio::cli
