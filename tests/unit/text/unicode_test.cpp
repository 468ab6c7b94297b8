#include "text/unicode.h"

#include <gtest/gtest.h>
#include <utf8proc.h>

#include <cstdlib>
#include <random>

#include "text/byte_alphabet.h"
#include "unit/text/random_text.h"
#include "unit/text/regex_oracle.h"

namespace intaglio::test {
namespace {

// PCRE2 10.42 has the tables of Unicode 14.0; those that it does not know yet are left out.
TEST(Unicode, ClassesOfEveryCodePoint) {
  ASSERT_STREQ(utf8proc_unicode_version(), "15.0.0") << "other versions need another oracle";
  const RegexOracle unassigned("\\p{Cn}");
  const std::pair<CharClass, const char*> classes[] = {{CharClass::kLetter, "\\p{L}"},
                                                       {CharClass::kMark, "\\p{M}"},
                                                       {CharClass::kNumber, "\\p{N}"},
                                                       {CharClass::kNewline, "[\\r\\n]"}};
  for (const auto& [kind, regex] : classes) {
    const RegexOracle oracle(regex);
    for (char32_t c = 0; c < 0x110000; ++c) {
      if (c >= 0xd800 && c <= 0xdfff) continue;
      std::string text;
      append_utf8(c, text);
      if (unassigned.matches(text)) continue;
      ASSERT_EQ(char_class(c) == kind, oracle.matches(text))
          << regex << " U+" << std::hex << static_cast<uint32_t>(c);
    }
  }
}

TEST(Unicode, WhiteSpace) {
  const std::u32string expected =
      U"\t\n\v\f\r "
      U"\u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028"
      U"\u2029\u202f\u205f\u3000";
  std::u32string found;
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (is_white_space(char_class(c))) found += c;
  }
  EXPECT_EQ(found, expected);
}

TEST(Unicode, InvalidUtf8IsFoundAtItsOffset) {
  const std::pair<const char*, size_t> cases[] = {
      {"ab\xff", 2},               // never a byte of UTF-8
      {"\x80", 0},                 // a continuation alone
      {"a\xc3", 1},                // cut short
      {"\xe6\x97", 0},             //
      {"\xf0\x9f\xa6", 0},         //
      {"\xc3\xa9\xc0\x80", 2},     // overlong
      {"\xe0\x80\x80", 0},         //
      {"\xf0\x80\x80\x80", 0},     //
      {"\xed\xa0\x80", 0},         // a surrogate
      {"\xf4\x90\x80\x80", 0},     // above U+10FFFF
      {"\xe6\x97\xa5\xe6\x28", 3}  // a lead byte before ASCII
  };
  for (const auto& [text, offset] : cases) EXPECT_EQ(find_invalid_utf8(text), offset) << text;
  EXPECT_EQ(find_invalid_utf8(std::string_view("a\0b", 3)), std::nullopt);
  EXPECT_EQ(find_invalid_utf8("\xf4\x8f\xbf\xbf\xed\x9f\xbf\xee\x80\x80"), std::nullopt);
}

TEST(Unicode, EncodeThenDecodeEveryCodePoint) {
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xd800 && c <= 0xdfff) continue;
    std::string text = "x";
    append_utf8(c, text);
    const DecodedChar decoded = decode_utf8(text, 1);
    ASSERT_EQ(decoded.code_point, c);
    ASSERT_EQ(decoded.length, text.size() - 1);
  }
}

std::string nfc_of_utf8proc(const std::string& text) {
  utf8proc_uint8_t* result = nullptr;
  const auto length =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                   static_cast<utf8proc_ssize_t>(text.size()), &result,
                   static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  EXPECT_GE(length, 0);
  std::string nfc(reinterpret_cast<const char*>(result),
                  static_cast<size_t>(std::max<utf8proc_ssize_t>(length, 0)));
  std::free(result);
  return nfc;
}

TEST(Nfc, Examples) {
  EXPECT_EQ(to_nfc("e\u0301"), "\u00e9");
  EXPECT_EQ(to_nfc("s\u0307\u0323"), "\u1e69") << "marks are put in order first";
  EXPECT_EQ(to_nfc("\u1100\u1161\u11a8"), "\uac01") << "Hangul";
  EXPECT_EQ(to_nfc("\u2126"), "\u03a9") << "the Ohm sign is a Greek letter";
  EXPECT_EQ(to_nfc("\u0958"), "\u0915\u093c") << "a composition exclusion";
  EXPECT_EQ(to_nfc("\u0344"), "\u0308\u0301");
  EXPECT_EQ(to_nfc("\u00e9 plain"), "\u00e9 plain");
  EXPECT_EQ(to_nfc(std::string_view("a\0b\u0301", 5)), std::string_view("a\0b\u0301", 5));
  EXPECT_EQ(to_nfc(""), "");
}

TEST(Nfc, EveryCodePointAgreesWithUtf8procMap) {
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xd800 && c <= 0xdfff) continue;
    std::string text = "e";
    append_utf8(c, text);
    text += "\u0323";
    append_utf8(c, text);
    ASSERT_EQ(to_nfc(text), nfc_of_utf8proc(text)) << "U+" << std::hex << static_cast<uint32_t>(c);
  }
}

TEST(Nfc, RandomTextAgreesWithUtf8procMap) {
  std::mt19937 random(7);
  for (int i = 0; i < 20000; ++i) {
    const std::string text = random_text(random, 24);
    const std::string nfc = to_nfc(text);
    ASSERT_EQ(nfc, nfc_of_utf8proc(text)) << text;
    ASSERT_EQ(to_nfc(nfc), nfc) << text;
  }
}

// Half a million marks in the wrong order: an exchange sort would need 3e10 steps and never come
// back in the time of a test run.
TEST(Nfc, ManyMarksInTheWrongOrder) {
  constexpr size_t kRepeats = 100'000;
  const std::string high[] = {"\u0301", "\u0300", "\u030f"};  // class 230: their own order stays
  const std::string low = "\u0327";                           // class 202
  std::string text = "q";
  for (size_t i = 0; i < kRepeats; ++i) text += high[0] + low + high[1] + high[2] + low;
  std::string expected = "q";
  for (size_t i = 0; i < 2 * kRepeats; ++i) expected += low;
  for (size_t i = 0; i < kRepeats; ++i) expected += high[0] + high[1] + high[2];
  EXPECT_EQ(to_nfc(text), expected);
}

TEST(ByteAlphabet, EveryByteGoesThereAndBack) {
  std::string bytes;
  for (int byte = 0; byte < 256; ++byte) bytes += static_cast<char>(byte);
  EXPECT_EQ(bytes_from_printable(printable_from_bytes(bytes)), bytes);
}

TEST(ByteAlphabet, KnownCharacters) {
  EXPECT_EQ(printable_from_bytes(" \n\tA~"), "\u0120\u010a\u0109A~");
  EXPECT_EQ(printable_from_bytes("\x7f\xa0\xad"), "\u0121\u0142\u0143");
  EXPECT_EQ(bytes_from_printable("\u0120a"), " a");
  EXPECT_EQ(bytes_from_printable(" "), std::nullopt);
  EXPECT_EQ(bytes_from_printable("\u65e5"), std::nullopt);
  EXPECT_EQ(bytes_from_printable("\u0144"), std::nullopt) << "one past the end";
}

}  // namespace
}  // namespace intaglio::test
