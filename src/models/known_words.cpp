#include "models/known_words.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "io/json_config.h"
#include "io/printable.h"
#include "text/fold.h"
#include "text/quoted_text.h"
#include "text/unicode.h"

namespace intaglio {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr size_t kMostWords = 65536;
constexpr size_t kMostNamed = 6;        // unknown words of a warning
constexpr size_t kMostNamedBytes = 40;  // of each

bool is_capital(char c) { return c >= 'A' && c <= 'Z'; }

// The text with quoted parts as blanks, so that no word reaches across them.
std::string without_quoted(std::string_view prompt) {
  std::string text(prompt);
  for (const TextSpan& span : quoted_text(prompt))
    std::fill(text.begin() + static_cast<std::ptrdiff_t>(span.begin),
              text.begin() + static_cast<std::ptrdiff_t>(span.end), ' ');
  return text;
}

}  // namespace

Expected<std::optional<KnownWords>> read_known_words(const fs::path& folder) {
  const fs::path file = folder / "vocabulary.json";
  std::error_code ignored;
  if (folder.empty() || !fs::exists(file, ignored)) return std::optional<KnownWords>();
  INTAGLIO_ASSIGN(const JsonConfig config, JsonConfig::open(file));
  const auto found = config.json().find("words");
  if (found == config.json().end()) return std::optional<KnownWords>();
  if (!found->is_array() || found->empty() || found->size() > kMostWords)
    return make_error(ErrorCode::kBadFormat, "{}: words: expected a list of 1 to {} texts",
                      file.string(), kMostWords);
  KnownWords words;
  for (const json& word : *found) {
    if (!word.is_string())
      return make_error(ErrorCode::kBadFormat, "{}: words: found {}, expected texts", file.string(),
                        word.type_name());
    words.insert(lower_case(word.get_ref<const std::string&>()));
  }
  return std::optional<KnownWords>(std::move(words));
}

std::vector<std::string> unknown_words(const KnownWords& known, std::string_view prompt) {
  if (find_invalid_utf8(prompt)) return {};
  const std::string text = without_quoted(prompt);
  std::vector<std::string> out;
  std::set<std::string, std::less<>> seen;
  size_t begin = 0, letters = 0;
  const auto end_word = [&](size_t end) {
    const std::string_view word = std::string_view(text).substr(begin, end - begin);
    const bool is_drawn = std::all_of(word.begin(), word.end(), is_capital);
    if (letters > 1 && !is_drawn) {
      std::string folded = lower_case(to_nfc(word));
      if (!known.contains(folded) && seen.insert(folded).second) out.push_back(std::move(folded));
    }
    letters = 0;
  };
  for (size_t at = 0; at < text.size();) {
    const DecodedChar c = decode_utf8(text, at);
    const CharClass kind = char_class(c.code_point);
    if (kind == CharClass::kLetter || (kind == CharClass::kMark && letters > 0)) {
      if (letters++ == 0) begin = at;
    } else if (letters > 0) {
      end_word(at);
    }
    at += c.length;
  }
  if (letters > 0) end_word(text.size());
  return out;
}

std::string unknown_words_warning(std::string_view model, const std::vector<std::string>& words) {
  std::string named;
  for (size_t i = 0; i < std::min(words.size(), kMostNamed); ++i)
    named += fmt::format("{}\"{}\"", i == 0 ? "" : ", ", printable(words[i], kMostNamedBytes));
  if (words.size() > kMostNamed) named += fmt::format(" and {} more", words.size() - kMostNamed);
  return fmt::format(
      "{0} was never trained on {1}; `intaglio inspect {0}` lists what it draws, and letters to "
      "show stand in double quotes",
      printable(model), named);
}

}  // namespace intaglio
