// Which words of a prompt a model says it does not know, and what a user is told.
#include "models/known_words.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "support/source_folder.h"
#include "support/temp_folder.h"

namespace intaglio {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const KnownWords kKnown{"a", "cat", "desc", "on", "red", "text", "the", "type", "über", "word"};

TEST(UnknownWords, AreNamedOnceInTheirOrderInLowerCase) {
  EXPECT_THAT(unknown_words(kKnown, "A photo of a cat, a Photo on red"),
              ElementsAre("photo", "of"));
  EXPECT_THAT(unknown_words(kKnown, "The CAT on\tred!"), IsEmpty());
  EXPECT_THAT(unknown_words(kKnown, ""), IsEmpty());
}

TEST(UnknownWords, WhatIsToBeDrawnIsNone) {
  EXPECT_THAT(unknown_words(kKnown, "the word \"wombat\" on “zebu” 'yak' red"), IsEmpty());
  EXPECT_THAT(unknown_words(kKnown, "the word WOMBAT"), IsEmpty());
  EXPECT_THAT(unknown_words(kKnown, R"({"type":"text","text":"wombat","desc":"a \"yak\""})"),
              IsEmpty());
  EXPECT_THAT(unknown_words(kKnown, R"({"type":"obj","desc":"a wombat"})"),
              ElementsAre("obj", "wombat"));
}

TEST(UnknownWords, LettersOfAnyScriptMakeWords) {
  // Composed or not, the same word; one letter alone and digits are none.
  EXPECT_THAT(unknown_words(kKnown, "ÜBER u\u0308ber x 42 cat's"), IsEmpty());
  EXPECT_THAT(unknown_words(kKnown, "кот, 猫猫"), ElementsAre("кот", "猫猫"));
  EXPECT_THAT(unknown_words(kKnown, "bad \xff bytes"), IsEmpty());
}

TEST(UnknownWords, TheWarningNamesAFew) {
  EXPECT_EQ(unknown_words_warning("mini", {"a", "b"}),
            "mini was never trained on \"a\", \"b\"; `intaglio inspect mini` lists what it draws, "
            "and letters to show stand in double quotes");
  const std::string line =
      unknown_words_warning("mini", {"1", "2", "3", "4", "5", "6", "7", std::string(99, 'x')});
  EXPECT_THAT(line, HasSubstr("\"6\" and 2 more;"));
  EXPECT_EQ(line.find("xxx"), std::string::npos);
}

TEST(ReadKnownWords, WhatTheFileSays) {
  const TempFolder folder;
  const auto refusal = [&](const char* text) {
    std::ofstream(folder.path() / "vocabulary.json") << text;
    const auto words = read_known_words(folder.path());
    return words ? std::string(words->has_value() ? "list" : "none") : words.error().message;
  };
  EXPECT_FALSE(read_known_words(folder.path()).value().has_value());
  EXPECT_FALSE(read_known_words({}).value().has_value());
  const std::string file = (folder.path() / "vocabulary.json").string();
  EXPECT_EQ(refusal("{}"), "none");
  EXPECT_EQ(refusal(R"({"words": ["Cat"]})"), "list");
  EXPECT_THAT(read_known_words(folder.path()).value().value(), ElementsAre("cat"));
  EXPECT_EQ(refusal(R"({"words": []})"), file + ": words: expected a list of 1 to 65536 texts");
  EXPECT_EQ(refusal(R"({"words": "a"})"), file + ": words: expected a list of 1 to 65536 texts");
  EXPECT_EQ(refusal(R"({"words": [1]})"), file + ": words: found number, expected texts");
  EXPECT_THAT(refusal("{"), HasSubstr(file));
}

TEST(ReadKnownWords, TheBundledModelKnowsItsOwnExamples) {
  const auto known = read_known_words(test::source_path("models/mini")).value().value();
  std::ifstream lines(test::source_path("training/prompts_sheet.txt"));
  size_t count = 0;
  for (std::string line; std::getline(lines, line); ++count)
    EXPECT_THAT(unknown_words(known, line), IsEmpty()) << line;
  EXPECT_EQ(count, 24u);
  EXPECT_THAT(unknown_words(known, "a photo of a wombat"), ElementsAre("photo", "wombat"));
}

}  // namespace
}  // namespace intaglio
