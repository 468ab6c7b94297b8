#include "core/escape.h"

#include <gtest/gtest.h>

#include <vector>

#include "io/printable.h"

namespace intaglio {
namespace {

TEST(escape, leaves_what_people_write) {
  for (const char* text : {"", "plain", "caf\xc3\xa9", "\xe4\xb8\xad\xe6\x96\x87", "back\\slash",
                           "\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x9a\x80"})  // emoji with a joiner
    EXPECT_EQ(escaped(text), text);
}

TEST(escape, writes_controls_and_direction_marks_as_bytes) {
  EXPECT_EQ(escaped("a\x1b[2Jb\r\n\t\x7f"), "a\\x1b[2Jb\\x0d\\x0a\\x09\\x7f");
  EXPECT_EQ(escaped(std::string_view("a\0b", 3)), "a\\x00b");
  EXPECT_EQ(escaped("\xc2\x9b"
                    "31m"),
            "\\xc2\\x9b31m");                             // C1
  EXPECT_EQ(escaped("\xe2\x80\xae"), "\\xe2\\x80\\xae");  // right-to-left override
  EXPECT_EQ(escaped("\xe2\x81\xa7"), "\\xe2\\x81\\xa7");  // right-to-left isolate
  EXPECT_EQ(escaped("\xe2\x80\x8f"), "\\xe2\\x80\\x8f");  // right-to-left mark
  EXPECT_EQ(escaped("\xd8\x9c"), "\\xd8\\x9c");           // Arabic letter mark
  EXPECT_EQ(escaped("\xe2\x80\xa8\xe2\x80\xa9"), "\\xe2\\x80\\xa8\\xe2\\x80\\xa9");  // line breaks
  EXPECT_EQ(escaped("\xef\xbb\xbf"), "\\xef\\xbb\\xbf");
}

TEST(escape, writes_what_is_no_utf8_as_bytes) {
  EXPECT_EQ(escaped("\xff"), "\\xff");
  EXPECT_EQ(escaped("a\xc3"), "a\\xc3");
  EXPECT_EQ(escaped("\xc0\x9b"), "\\xc0\\x9b");           // overlong
  EXPECT_EQ(escaped("\xed\xa0\x80"), "\\xed\\xa0\\x80");  // a surrogate
  EXPECT_EQ(escaped("\x9b"
                    "31m"),
            "\\x9b31m");
}

TEST(escape, of_what_is_escaped_changes_nothing) {
  const std::string once = escaped("a\nb\x1b\xff");
  EXPECT_EQ(escaped(once), once);
}

TEST(escape, keeps_breaks_before_indented_lines) {
  EXPECT_EQ(escaped("a\n    error: b\n  warning: c\n  d", LineBreaks::kIndented),
            "a\\x0a    error: b\\x0a  warning: c\n  d");
  EXPECT_EQ(escaped("a\n  b\x1b\nerror: c\n d\n", LineBreaks::kIndented),
            "a\n  b\\x1b\\x0aerror: c\\x0a d\\x0a");
}

TEST(escape, names_in_messages_cannot_forge_lines) {
  const std::string name = "x\nerror: forged\x1b]0;title\x07";
  const std::string safe = "x\\x0aerror: forged\\x1b]0;title\\x07";
  const std::string message = message_of("{}: cannot\n  read {}", name, name.c_str());
  EXPECT_EQ(message, safe + ": cannot\n  read " + safe);
  const std::vector<std::string> names{"a\n", "b"};
  const std::string list = message_of("in\n  {}: {}", fmt::join(names, "\n  "), 7);
  EXPECT_EQ(list, "in\n  a\\x0a\n  b: 7");
  EXPECT_EQ(message_of("outer {}", OwnLines{list}), "outer in\n  a\\x0a\n  b: 7");
  EXPECT_EQ(message_of("{:>5}|{:.1f}|{}", "ab", 1.25, fmt::join(std::vector<int>{1, 2}, ",")),
            "   ab|1.2|1,2");
}

TEST(escape, printable_cuts_between_characters) {
  EXPECT_EQ(printable("ab\n", 10), "ab\\x0a");
  EXPECT_EQ(printable("caf\xc3\xa9s", 4), "caf...");
  EXPECT_EQ(printable("caf\xc3\xa9s", 5), "caf\xc3\xa9...");
}

}  // namespace
}  // namespace intaglio
