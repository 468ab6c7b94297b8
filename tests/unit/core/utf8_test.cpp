#include "core/utf8.h"

#include <gtest/gtest.h>

namespace intaglio {
namespace {

TEST(Utf8, KnowsWhatItIs) {
  for (const char* text : {"", "abc", "\xc3\xa9t\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\xa6\x8a"})
    EXPECT_TRUE(is_utf8(text)) << text;
  // A lone byte, a cut character, an overlong one, a surrogate, beyond U+10FFFF.
  for (const char* text : {"\xff", "a\x80", "\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80"})
    EXPECT_FALSE(is_utf8(text)) << text;
}

TEST(Utf8, GivesCodePointsAndTheirLength) {
  const DecodedUtf8 fox = decode_utf8("\xf0\x9f\xa6\x8a!");
  EXPECT_EQ(fox.code_point, 0x1f98a);
  EXPECT_EQ(fox.bytes, 4u);
  EXPECT_EQ(decode_utf8("\xff!").code_point, -1);
  EXPECT_EQ(decode_utf8("\xff!").bytes, 1u);
}

}  // namespace
}  // namespace intaglio
