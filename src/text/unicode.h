// The few facts about code points that the tokenizer needs. Categories and normalization are those
// of utf8proc's Unicode version (15.0 with utf8proc 2.8); code points assigned later count as
// neither letter nor number.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace intaglio {

// Kinds of code points that the split patterns tell apart.
enum class CharClass : uint8_t {
  kLetter,   // \p{L}
  kMark,     // \p{M}
  kNumber,   // \p{N}
  kNewline,  // CR or LF
  kSpace,    // \s, the property White_Space, without CR and LF
  kOther,
};

CharClass char_class(char32_t code_point);

// \s: the property White_Space.
inline bool is_white_space(CharClass kind) {
  return kind == CharClass::kSpace || kind == CharClass::kNewline;
}

struct DecodedChar {
  char32_t code_point = 0;
  uint32_t length = 0;  // bytes; 0 if the bytes are not UTF-8 or there are none
};

// The code point that starts at `offset`.
DecodedChar decode_utf8(std::string_view text, size_t offset);
void append_utf8(char32_t code_point, std::string& text);

// Offset of the first byte that is not UTF-8 (overlong forms, surrogates and values above U+10FFFF
// are not); nullopt if all is well.
std::optional<size_t> find_invalid_utf8(std::string_view text);

// Canonical composition (NFC) of valid UTF-8; O(n log n) for any input.
std::string to_nfc(std::string_view text);

}  // namespace intaglio
