// What a prompt quotes. training/test_training.py holds the training's twin to the same cases.
#include "text/quoted_text.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "support/source_folder.h"

namespace intaglio {
namespace {

TEST(QuotedText, CasesOfTheTraining) {
  std::ifstream cases(test::source_path("training/quoted_cases.tsv"));
  size_t count = 0;
  for (std::string line; std::getline(cases, line); ++count) {
    const size_t tab = line.find('\t');
    ASSERT_NE(tab, std::string::npos) << line;
    EXPECT_EQ(capitals_in_quotes(line.substr(0, tab)), line.substr(tab + 1));
  }
  EXPECT_GE(count, 20u);
}

TEST(QuotedText, SpansLeaveTheQuotesOut) {
  const std::string text = "“a” 'b' \"cd\"";
  std::string seen;
  for (const TextSpan& span : quoted_text(text))
    seen += text.substr(span.begin, span.end - span.begin) + "|";
  EXPECT_EQ(seen, "a|b|cd|");
}

TEST(QuotedText, AQuoteDoesNotReachOverTheEndOfItsLine) {
  EXPECT_EQ(capitals_in_quotes("6\" tall\n7\" wide"), "6\" tall\n7\" wide");
}

// A megabyte takes milliseconds if the cost is linear, minutes if every quote searches its line.
TEST(QuotedText, ManyQuotesThatNeverCloseCostLittle) {
  for (const std::string piece : {" 'a", "“a ", "“\n", "\"\"", "\"text\" "}) {
    for (const std::string first : {"", "{"}) {
      std::string text = first;
      while (text.size() < (1u << 20)) text += piece;
      text += "\n”";
      EXPECT_EQ(capitals_in_quotes(text).size(), text.size());
    }
  }
}

TEST(QuotedText, JsonThatBreaksOffEndsTheSpan) {
  for (const char* text :
       {"{\"text\":\"ab", "{\"text\":\"ab\\", "{\"text\"", "{\"text\":", "{\"", "{\\\""})
    for (const TextSpan& span : quoted_text(text)) EXPECT_LE(span.end, std::string(text).size());
  EXPECT_EQ(capitals_in_quotes("{\"text\":\"ab"), "{\"text\":\"AB");
}

}  // namespace
}  // namespace intaglio
