#include "text/quoted_text.h"

#include <algorithm>
#include <array>

namespace intaglio {
namespace {

struct Quotes {
  std::string_view open, close;
  bool stands_apart = false;  // no letter or digit before the first one, none behind the second
};

constexpr std::array<Quotes, 3> kPlain{{{"\"", "\""}, {"“", "”"}, {"'", "'", true}}};
constexpr std::array<Quotes, 3> kInJson{{{"\\\"", "\\\""}, {"“", "”"}, {"'", "'", true}}};
constexpr std::string_view kBlank = " \t\r\n";

// Bytes beyond ASCII count as letters: where they are not, a quote less is seen.
bool in_word(std::string_view text, size_t at) {
  if (at >= text.size()) return false;
  const auto c = static_cast<unsigned char>(text[at]);
  return c >= 0x80 || (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

// Finds closing quotes on the line of their opening ones, in linear time for any text: a line is
// searched once for a kind of quote that it does not have.
class Closing {
 public:
  explicit Closing(std::string_view text) : text_(text) {}

  // Of the kind with this number, for what begins at `begin`, which never decreases; npos: none.
  size_t find(size_t kind, const Quotes& quotes, size_t begin) {
    if (begin >= line_end_) {
      line_end_ = std::min(text_.find('\n', begin), text_.size());
      none_.fill(false);
    }
    if (none_[kind]) return std::string_view::npos;
    const std::string_view line = text_.substr(0, line_end_);
    for (size_t at = line.find(quotes.close, begin); at != std::string_view::npos;
         at = line.find(quotes.close, at + 1))
      if (!quotes.stands_apart || !in_word(text_, at + quotes.close.size())) return at;
    none_[kind] = true;
    return std::string_view::npos;
  }

 private:
  std::string_view text_;
  size_t line_end_ = 0;
  std::array<bool, 3> none_{};
};

// Of a JSON text whose `at` is a quote: where the value begins if this is the key "text" with a
// string, else npos.
size_t value_of_text(std::string_view json, size_t at) {
  constexpr std::string_view kKey = "\"text\"";
  if (!json.substr(at).starts_with(kKey)) return std::string_view::npos;
  const size_t colon = json.find_first_not_of(kBlank, at + kKey.size());
  if (colon == std::string_view::npos || json[colon] != ':') return std::string_view::npos;
  const size_t quote = json.find_first_not_of(kBlank, colon + 1);
  return quote != std::string_view::npos && json[quote] == '"' ? quote + 1 : std::string_view::npos;
}

// The quote that ends the JSON string which goes on at `at`.
size_t string_end(std::string_view json, size_t at) {
  while (at < json.size() && json[at] != '"') at += json[at] == '\\' ? 2 : 1;
  return std::min(at, json.size());
}

}  // namespace

std::vector<TextSpan> quoted_text(std::string_view prompt) {
  const size_t first = prompt.find_first_not_of(kBlank);
  const bool json = first != std::string_view::npos && prompt[first] == '{';
  const auto& kinds = json ? kInJson : kPlain;
  Closing closing(prompt);
  std::vector<TextSpan> spans;
  for (size_t at = 0; at < prompt.size();) {
    if (json && prompt[at] == '"') {
      const size_t value = value_of_text(prompt, at);
      if (value == std::string_view::npos) {
        ++at;
        continue;
      }
      at = string_end(prompt, value);
      spans.push_back({value, at});
      ++at;
      continue;
    }
    const auto* quotes = std::find_if(kinds.begin(), kinds.end(), [&](const Quotes& one) {
      return prompt.substr(at).starts_with(one.open) &&
             !(one.stands_apart && at > 0 && in_word(prompt, at - 1));
    });
    const size_t begin = quotes == kinds.end() ? at : at + quotes->open.size();
    const size_t end =
        quotes == kinds.end()
            ? std::string_view::npos
            : closing.find(static_cast<size_t>(quotes - kinds.begin()), *quotes, begin);
    if (end == std::string_view::npos) {
      ++at;
      continue;
    }
    spans.push_back({begin, end});
    at = end + quotes->close.size();
  }
  return spans;
}

std::string capitals_in_quotes(std::string_view prompt) {
  std::string out(prompt);
  for (const TextSpan& span : quoted_text(prompt))
    for (size_t i = span.begin; i < span.end; ++i)
      if (out[i] >= 'a' && out[i] <= 'z') out[i] = static_cast<char>(out[i] - 'a' + 'A');
  return out;
}

}  // namespace intaglio
