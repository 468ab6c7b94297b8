// Seeded random strings over alphabets chosen to be awkward for the split pattern and the
// normalization.
#pragma once

#include <random>
#include <string>
#include <vector>

#include "text/unicode.h"

namespace intaglio::test {

inline const std::vector<std::u32string>& awkward_alphabets() {
  static const std::vector<std::u32string> alphabets{
      U"'sStTrReEvVmMlLdD\u017f\u212a ",  // contractions, long s, Kelvin sign
      U" \t\r\n\v\f\u0085\u00a0\u1680\u2003\u2028\u2029\u202f\u3000\u200b\u180e",  // every
                                                                                   // kind
                                                                                   // of
                                                                                   // space,
                                                                                   // and
                                                                                   // two
                                                                                   // that
                                                                                   // are
                                                                                   // none
      U" \r\na1.",
      U"0123456789\u0663\u0667\u0968\u2167\u00bd\u00b2\u3007 a",  // digits of several
                                                                  // scripts, letter numbers
      U"e\u0301\u0327\u0323\u0308\u0345a\u00e9 '\u1e69s",         // combining marks in and out of
                                                                  // order
      U"\u0627\u0644\u0639\u0631\u0628\u064a\u0629\u064b\u0651 \u060c1",  // Arabic with
                                                                          // marks
      U"\u65e5\u672c\u8a9e\u306e\u30dd\u3099\u309a\u30fc\u3001\u3002 "
      U"\uac00\u1100\u1161\u11a8",                                  // CJK, kana marks, Hangul
      U"\U0001f98a\U0001f469\u200d\U0001f3fd\ufe0f\U0001f1e6 a\n",  // emoji, joiners,
                                                                    // variation selectors
      U"\u0915\u094d\u0937\u093f\u0e01\u0e33\u0f73\u0344\u0958\ufb1d\u2126",  // Indic
                                                                              // signs,
                                                                              // characters
                                                                              // that always
                                                                              // decompose
      U"aZ09 "
      U".,'\"-_!?\r\n\t/"
      U"\\|<>\u00e4\u00df\u0130\u0131\u01c5\U00010400\U000e0001\ue000\u0000"};
  return alphabets;
}

// At most `max_length` code points, in one of four strings drawn from anywhere in Unicode.
inline std::string random_text(std::mt19937& random, size_t max_length) {
  const auto below = [&](size_t n) {
    return std::uniform_int_distribution<size_t>(0, n - 1)(random);
  };
  const size_t length = below(max_length + 1);
  const std::u32string& alphabet = awkward_alphabets()[below(awkward_alphabets().size())];
  const bool anywhere = below(4) == 0;
  std::string text;
  for (size_t i = 0; i < length; ++i) {
    char32_t c = alphabet[below(alphabet.size())];
    if (anywhere && below(2) == 0) {
      do {
        c = static_cast<char32_t>(below(below(2) == 0 ? 0x3000 : 0x110000));
      } while (c >= 0xd800 && c <= 0xdfff);
    }
    append_utf8(c, text);
  }
  return text;
}

}  // namespace intaglio::test
