#include "text/split.h"

#include <array>

namespace intaglio {
namespace {

struct KnownRegex {
  std::string_view regex;
  SplitPattern pattern;
};

constexpr std::array<KnownRegex, 6> kKnownRegexes{{
    // Qwen 2, 2.5, 3
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     {.max_digits = 1}},
    // GPT-4, Llama 3
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     {.max_digits = 3}},
    // GPT-4 as first published; the possessive marks and the single newline match the same text
    {R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)",
     {.max_digits = 3}},
    // Qwen 3.5
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     {.max_digits = 1, .marks_in_words = true}},
    // The same two with the letters' cases spelled out, as files converted from other formats have
    // them
    {R"((?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     {.max_digits = 1, .fold_long_s = false}},
    {R"((?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     {.max_digits = 3, .fold_long_s = false}},
}};

// Walks code points from a byte offset.
class Cursor {
 public:
  Cursor(std::string_view text, size_t offset) : text_(text), offset_(offset) { load(); }

  bool at_end() const { return offset_ >= text_.size(); }
  char32_t code_point() const { return current_.code_point; }
  CharClass kind() const { return kind_; }
  size_t offset() const { return offset_; }
  void advance() {
    offset_ += current_.length;
    load();
  }

 private:
  void load() {
    current_ = decode_utf8(text_, offset_);
    if (current_.length == 0) {
      offset_ = text_.size();  // the end; bytes that are not UTF-8 cannot come here
      kind_ = CharClass::kOther;
    } else {
      kind_ = char_class(current_.code_point);
    }
  }

  std::string_view text_;
  size_t offset_;
  DecodedChar current_;
  CharClass kind_ = CharClass::kOther;
};

bool in_word(const SplitPattern& pattern, CharClass kind) {
  return kind == CharClass::kLetter || (pattern.marks_in_words && kind == CharClass::kMark);
}

bool is_symbol(const SplitPattern& pattern, CharClass kind) {
  return kind == CharClass::kOther || (!pattern.marks_in_words && kind == CharClass::kMark);
}

char to_lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

// Length of 's, 't, 're, 've, 'm, 'll, 'd at `offset`, which holds the apostrophe; 0 if none.
size_t contraction_length(const SplitPattern& pattern, std::string_view text, size_t offset) {
  const std::string_view rest = text.substr(offset + 1, 2);
  if (rest.empty()) return 0;
  switch (to_lower(rest[0])) {
    case 's':
    case 't':
    case 'm':
    case 'd':
      return 2;
    default:
      break;
  }
  if (rest.size() < 2) return 0;
  if (pattern.fold_long_s && rest == "\xc5\xbf") return 3;  // U+017F
  const char first = to_lower(rest[0]);
  const char second = to_lower(rest[1]);
  if ((first == 'r' && second == 'e') || (first == 'v' && second == 'e') ||
      (first == 'l' && second == 'l'))
    return 3;
  return 0;
}

// \s*[\r\n]+ | \s+(?!\S) | \s+
size_t space_length(std::string_view text, size_t offset) {
  Cursor cursor(text, offset);
  size_t after_newline = offset;  // end of the last newline of the run
  size_t last = offset;           // start of the last space of the run
  while (!cursor.at_end() && is_white_space(cursor.kind())) {
    const bool newline = cursor.kind() == CharClass::kNewline;
    last = cursor.offset();
    cursor.advance();
    if (newline) after_newline = cursor.offset();
  }
  if (after_newline > offset) return after_newline - offset;
  // A run before something else leaves its last space to that, unless it is a single one.
  if (!cursor.at_end() && last > offset) return last - offset;
  return cursor.offset() - offset;
}

}  // namespace

std::optional<SplitPattern> split_pattern_from_regex(std::string_view regex) {
  // Some files hold the carriage return and the line feed themselves instead of their escapes.
  std::string escaped;
  for (const char c : regex) {
    if (c == '\r') {
      escaped += "\\r";
    } else if (c == '\n') {
      escaped += "\\n";
    } else {
      escaped += c;
    }
  }
  for (const KnownRegex& known : kKnownRegexes) {
    if (known.regex == escaped) return known.pattern;
  }
  return std::nullopt;
}

size_t next_word_length(const SplitPattern& pattern, std::string_view text, size_t offset) {
  Cursor cursor(text, offset);
  const char32_t first = cursor.code_point();
  const CharClass kind = cursor.kind();
  if (first == '\'') {
    if (const size_t length = contraction_length(pattern, text, offset); length > 0) return length;
  }
  if (kind == CharClass::kNumber) {
    for (uint32_t n = 0;
         n < pattern.max_digits && !cursor.at_end() && cursor.kind() == CharClass::kNumber; ++n) {
      cursor.advance();
    }
    return cursor.offset() - offset;
  }
  // One space or symbol may lead a word.
  if (!in_word(pattern, kind) && kind != CharClass::kNewline) cursor.advance();
  if (!cursor.at_end() && in_word(pattern, cursor.kind())) {
    while (!cursor.at_end() && in_word(pattern, cursor.kind())) cursor.advance();
    return cursor.offset() - offset;
  }
  // One space may lead symbols; the cursor is past it or past the first symbol.
  const bool symbols = is_symbol(pattern, kind) ||
                       (first == ' ' && !cursor.at_end() && is_symbol(pattern, cursor.kind()));
  if (symbols) {
    while (!cursor.at_end() && is_symbol(pattern, cursor.kind())) cursor.advance();
    while (!cursor.at_end() && cursor.kind() == CharClass::kNewline) cursor.advance();
    return cursor.offset() - offset;
  }
  return space_length(text, offset);
}

}  // namespace intaglio
