// What a prompt quotes: the letters that a picture is to show. In plain text that is what stands in
// "double", “curly” or 'single' quotes; in a JSON caption, whose own quotes mean nothing, what the
// strings quote, and the values of "text".
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace intaglio {

struct TextSpan {
  size_t begin = 0, end = 0;  // bytes, without the quotes
};

// In their order, none inside another. A quote that is not closed on its line, and an apostrophe
// inside a word, quote nothing.
std::vector<TextSpan> quoted_text(std::string_view prompt);

// The prompt with every quoted a to z as a capital.
std::string capitals_in_quotes(std::string_view prompt);

}  // namespace intaglio
