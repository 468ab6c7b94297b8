#include "core/escape.h"

#include <gtest/gtest.h>
#include <utf8proc.h>

#include <random>
#include <vector>

#include "core/log.h"
#include "core/status.h"
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

// utf8proc knows Unicode's database; what it has no character for may be one of the table's later
// ones.
TEST(escape, is_of_the_categories_that_unicode_says) {
  for (int32_t c = 0; c <= 0x10ffff; ++c) {
    const auto category = utf8proc_category(c);
    const bool joiner = c == 0x200c || c == 0x200d;
    const bool control = category == UTF8PROC_CATEGORY_CC || category == UTF8PROC_CATEGORY_CF ||
                         category == UTF8PROC_CATEGORY_ZL || category == UTF8PROC_CATEGORY_ZP;
    if (category == UTF8PROC_CATEGORY_CN) continue;
    ASSERT_EQ(is_escaped(c), control && !joiner) << "U+" << std::hex << c;
  }
  EXPECT_FALSE(is_escaped(-1));
}

// Bytes that are often near to being UTF-8, and every code point.
TEST(escape, takes_for_utf8_what_utf8proc_does) {
  const auto expected = [](std::string_view text) {
    std::string result;
    while (!text.empty()) {
      utf8proc_int32_t c = -1;
      const auto read = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                         static_cast<utf8proc_ssize_t>(text.size()), &c);
      const auto bytes = text.substr(0, read > 0 ? static_cast<size_t>(read) : 1);
      if (read > 0 && !is_escaped(c)) {
        result += bytes;
      } else {
        for (const char b : bytes) result += fmt::format("\\x{:02x}", static_cast<uint8_t>(b));
      }
      text.remove_prefix(bytes.size());
    }
    return result;
  };
  std::mt19937 random(1);
  constexpr std::string_view kBytes =
      "\x41\x7f\x80\x8f\x90\x9f\xa0\xbf\xc0\xc1\xc2\xdf\xe0\xe1\xed\xef\xf0\xf1\xf4\xf5\xff";
  for (int i = 0; i < 20000; ++i) {
    std::string text;
    for (size_t length = random() % 8; text.size() < length;)
      text += kBytes[random() % kBytes.size()];
    ASSERT_EQ(escaped(text), expected(text));
  }
  for (int32_t c = 0; c <= 0x10ffff; c += 1 + c / 64) {
    utf8proc_uint8_t bytes[4];
    const auto length = utf8proc_encode_char(c, bytes);
    const std::string text(reinterpret_cast<const char*>(bytes), static_cast<size_t>(length));
    ASSERT_EQ(escaped(text), expected(text)) << "U+" << std::hex << c;
  }
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
  const Status status = make_error(ErrorCode::kIo, "{}: cannot\n  read {}", name, name.c_str());
  EXPECT_EQ(status.error().message, safe + ": cannot\n  read " + safe);
  const std::vector<std::string> names{"a\n", "b"};
  const Status list = make_error(ErrorCode::kIo, "in\n  {}: {}", fmt::join(names, "\n  "), 7);
  EXPECT_EQ(list.error().message, "in\n  a\\x0a\n  b: 7");
  const Status nested = make_error(ErrorCode::kIo, "outer {}", OwnLines{list.error().message});
  EXPECT_EQ(nested.error().message, "outer in\n  a\\x0a\n  b: 7");
  EXPECT_EQ(message_of("{:>5}|{:.1f}|{}", "ab", 1.25, fmt::join(std::vector<int>{1, 2}, ",")),
            "   ab|1.2|1,2");
}

TEST(escape, log_messages_too) {
  std::string logged;
  set_log_callback([&](LogLevel, std::string_view message) { logged = message; });
  log(LogLevel::kInfo, "read {}", "a\nb");
  set_log_callback({});
  EXPECT_EQ(logged, "read a\\x0ab");
}

TEST(escape, printable_cuts_between_characters) {
  EXPECT_EQ(printable("ab\n", 10), "ab\\x0a");
  EXPECT_EQ(printable("caf\xc3\xa9s", 4), "caf...");
  EXPECT_EQ(printable("caf\xc3\xa9s", 5), "caf\xc3\xa9...");
}

}  // namespace
}  // namespace intaglio
