#include "help_text.h"

#include <gtest/gtest.h>

#include <sstream>

namespace intaglio::cli {
namespace {

TEST(help_text, wraps_at_spaces) {
  EXPECT_EQ(wrapped("aa bb cc", 5, 2), "aa\n  bb\n  cc");
  EXPECT_EQ(wrapped("aa bb cc", 7, 0), "aa bb\ncc");
  EXPECT_EQ(wrapped("aa bb cc", 8, 0), "aa bb cc");
  EXPECT_EQ(wrapped("", 8, 2), "");
  EXPECT_EQ(wrapped("aaaaaaaaaa b", 4, 0), "aaaaaaaaaa\nb");
  EXPECT_EQ(wrapped("Examples:\n  a very long example line\nend", 10, 0),
            "Examples:\n  a very long example line\nend");
}

TEST(help_text, fits_its_columns) {
  CLI::App app(
      "A program with a description that is rather long, longer than one line can be, so "
      "that it must be broken.",
      "program");
  std::string text;
  int number = 3;
  app.add_option("path", text, "A word")->required();
  app.add_option("--text", text,
                 "A text with a description that is rather long, longer than one line can be, so "
                 "that it must be broken")
      ->type_name("TEXT|@FILE|-");
  app.add_option("--a-number-with-a-long-name", number, "A number")->capture_default_str();
  app.formatter(std::make_shared<HelpText>());
  const std::string help = app.help();
  std::istringstream lines(help);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), kHelpColumns) << line;
  for (const char* part :
       {"Usage: program path [OPTIONS]", "--text TEXT|@FILE|-", "[3]", "(required)", "-h,--help"}) {
    EXPECT_NE(help.find(part), std::string::npos) << part << "\n" << help;
  }
}

}  // namespace
}  // namespace intaglio::cli
