#include "text/split.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "unit/text/random_text.h"
#include "unit/text/regex_oracle.h"

namespace intaglio::test {
namespace {

using testing::ElementsAre;

struct NamedRegex {
  const char* name;
  const char* regex;
};

const NamedRegex kRegexes[] = {
    {"qwen",
     R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
    {"llama3",
     R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
    {"gpt4",
     R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)"},
    {"qwen35",
     R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
    {"cases",
     R"((?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
    {"cases3",
     R"((?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
};

// Where PCRE2 10.42 cannot be the oracle: code points that Unicode 15 added (it has 14), and the
// Mongolian vowel separator, which it counts as \s though Unicode took it out of White_Space
// in 6.3.
constexpr const char* kNoOracle = R"([\p{Cn}\x{180e}])";

std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : text) result += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  return result;
}

void scan(const SplitPattern& pattern, std::string_view text, std::vector<size_t>& lengths) {
  lengths.clear();
  for (size_t offset = 0; offset < text.size();) {
    lengths.push_back(next_word_length(pattern, text, offset));
    if (lengths.back() == 0) return;  // would not end; the comparison shows it
    offset += lengths.back();
  }
}

std::vector<std::string> words(const SplitPattern& pattern, std::string_view text) {
  std::vector<size_t> lengths;
  scan(pattern, text, lengths);
  std::vector<std::string> result;
  for (const size_t length : lengths) {
    result.emplace_back(text.substr(0, length));
    text.remove_prefix(length);
  }
  return result;
}

class SplitOracle : public testing::TestWithParam<NamedRegex> {
 protected:
  void expect_same(std::string_view text) {
    oracle_.split(text, expected_);
    scan(pattern_, text, found_);
    ASSERT_EQ(found_, expected_) << "\"" << text << "\" = " << escaped(text);
  }

  RegexOracle no_oracle_{kNoOracle};
  RegexOracle oracle_{GetParam().regex};
  SplitPattern pattern_ = split_pattern_from_regex(GetParam().regex).value();
  std::vector<size_t> expected_, found_;
};

TEST_P(SplitOracle, AllAsciiTriples) {
  std::string text(3, '\0');
  for (int i = 0; i < 128 * 128 * 128; ++i) {
    text[0] = static_cast<char>(i >> 14);
    text[1] = static_cast<char>((i >> 7) & 127);
    text[2] = static_cast<char>(i & 127);
    ASSERT_NO_FATAL_FAILURE(expect_same(text));
  }
}

// Between a letter and a space, a code point of each class splits in a way of its own.
TEST_P(SplitOracle, EveryCodePoint) {
  std::string text;
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xd800 && c <= 0xdfff) continue;
    text.clear();
    append_utf8(c, text);
    if (no_oracle_.matches(text)) continue;
    text.clear();
    text.push_back('a');
    append_utf8(c, text);
    append_utf8(c, text);
    text += "b ";
    append_utf8(c, text);
    ASSERT_NO_FATAL_FAILURE(expect_same(text)) << "U+" << std::hex << static_cast<uint32_t>(c);
  }
}

TEST_P(SplitOracle, RandomText) {
  std::mt19937 random(20240607);
  int compared = 0;
  for (int i = 0; i < 20000; ++i) {
    const std::string text = random_text(random, 24);
    if (no_oracle_.matches(text)) continue;
    ASSERT_NO_FATAL_FAILURE(expect_same(text));
    ++compared;
  }
  EXPECT_GT(compared, 10000);
}

INSTANTIATE_TEST_SUITE_P(Regexes, SplitOracle, testing::ValuesIn(kRegexes),
                         [](const auto& info) { return info.param.name; });

TEST(SplitPattern, KnownRegexes) {
  EXPECT_EQ(split_pattern_from_regex(kRegexes[0].regex), (SplitPattern{.max_digits = 1}));
  EXPECT_EQ(split_pattern_from_regex(kRegexes[1].regex), (SplitPattern{.max_digits = 3}));
  EXPECT_EQ(split_pattern_from_regex(kRegexes[3].regex),
            (SplitPattern{.max_digits = 1, .marks_in_words = true}));
}

TEST(SplitPattern, NewlinesMayStandForTheirEscapes) {
  std::string regex = kRegexes[0].regex;
  for (const auto& [escape, c] : {std::pair{"\\r", '\r'}, std::pair{"\\n", '\n'}}) {
    for (size_t at; (at = regex.find(escape)) != std::string::npos;) regex.replace(at, 2, 1, c);
  }
  EXPECT_EQ(split_pattern_from_regex(regex), (SplitPattern{.max_digits = 1}));
}

TEST(SplitPattern, OthersAreUnknown) {
  EXPECT_FALSE(split_pattern_from_regex(""));
  EXPECT_FALSE(split_pattern_from_regex(
      R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)"));
  EXPECT_FALSE(split_pattern_from_regex(std::string(kRegexes[0].regex) + " "));
}

TEST(Split, Words) {
  EXPECT_THAT(words({}, "don't we'LL 12"), ElementsAre("don", "'t", " we", "'LL", " ", "1", "2"));
  EXPECT_THAT(words({.max_digits = 3}, "1234567"), ElementsAre("123", "456", "7"));
  EXPECT_THAT(words({}, "a  b \n\n  c "), ElementsAre("a", " ", " b", " \n\n", " ", " c", " "));
  EXPECT_THAT(words({}, "it'\u017f"), ElementsAre("it", "'\u017f"));
  EXPECT_THAT(words({.fold_long_s = false}, "it'\u017fx"), ElementsAre("it", "'\u017fx"));
  EXPECT_THAT(words({}, "\u180e\u180e a"), ElementsAre("\u180e\u180e", " a"))
      << "U+180E is no white space";
}

}  // namespace
}  // namespace intaglio::test
