// The split of text into words before BPE: the patterns of GPT-4, Qwen and Llama 3 files, as a
// scanner instead of a regular expression engine.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "text/unicode.h"

namespace intaglio {

// What differs between the known patterns, all of this form (M only with marks_in_words):
//   (?i:'s|'t|'re|'ve|'m|'ll|'d) | [^\r\n\p{L}\p{N}]?[\p{L}M]+ | \p{N}{1,max_digits} |
//   ?[^\s\p{L}M\p{N}]+[\r\n]* | \s*[\r\n]+ | \s+(?!\S) | \s+
struct SplitPattern {
  uint32_t max_digits = 1;      // numbers are cut into pieces of at most this many digits
  bool marks_in_words = false;  // combining marks (\p{M}) continue a word
  bool fold_long_s = true;      // (?i:'s) also takes U+017F, which folds to s; [sS] does not

  bool operator==(const SplitPattern&) const = default;
};

// The scanner that does what a known regular expression does; nullopt if the expression is not one
// of them.
std::optional<SplitPattern> split_pattern_from_regex(std::string_view regex);

// Length in bytes of the word at `offset`; at least one code point. `text` is valid UTF-8 and
// offset < text.size().
size_t next_word_length(const SplitPattern& pattern, std::string_view text, size_t offset);

}  // namespace intaglio
