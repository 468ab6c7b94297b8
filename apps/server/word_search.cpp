#include "server/word_search.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>

namespace intaglio::server {
namespace {

bool is_of_word(utf8proc_int32_t code_point) {
  switch (utf8proc_category(code_point)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
    case UTF8PROC_CATEGORY_CO:
      return true;
    default:
      return false;
  }
}

// Folded; of what is no UTF-8, none.
std::vector<std::string> words_of(std::string_view text) {
  utf8proc_uint8_t* folded = nullptr;
  const utf8proc_ssize_t size = utf8proc_map(
      reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
      static_cast<utf8proc_ssize_t>(text.size()), &folded,
      static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE | UTF8PROC_CASEFOLD | UTF8PROC_STRIPMARK));
  std::vector<std::string> words;
  bool inside = false;
  for (utf8proc_ssize_t at = 0; at < size;) {
    utf8proc_int32_t code_point = 0;
    const utf8proc_ssize_t bytes = utf8proc_iterate(folded + at, size - at, &code_point);
    if (bytes <= 0) break;
    const bool belongs = is_of_word(code_point);
    if (belongs && !inside) words.emplace_back();
    if (belongs) words.back().append(reinterpret_cast<const char*>(folded + at), bytes);
    inside = belongs;
    at += bytes;
  }
  std::free(folded);
  return words;
}

}  // namespace

WordSearch::WordSearch(std::string_view text) : words_(words_of(text)) {}

bool WordSearch::found_in(std::string_view prompt) const {
  if (words_.empty()) return true;
  const std::vector<std::string> there = words_of(prompt);
  return std::all_of(words_.begin(), words_.end(), [&](const std::string& word) {
    return std::any_of(there.begin(), there.end(),
                       [&](const std::string& one) { return one.starts_with(word); });
  });
}

}  // namespace intaglio::server
