#include "text/word_piece.h"

#include <algorithm>
#include <optional>

#include "core/files.h"
#include "io/printable.h"
#include "text/fold.h"
#include "text/framed_text.h"
#include "text/unicode.h"

namespace intaglio {
namespace {

constexpr size_t kMostFileBytes = size_t{64} << 20;
constexpr int64_t kMostWordChars = 100;  // a longer word is unknown
constexpr std::string_view kInside = "##";

// White space as one space, controls left out, room around ideographs.
std::string cleaned(std::string_view text) {
  std::string clean;
  for (size_t i = 0; i < text.size();) {
    const DecodedChar c = decode_utf8(text, i);
    if (c.length == 0) break;
    const std::string_view bytes = text.substr(i, c.length);
    i += c.length;
    if (c.code_point == 0 || c.code_point == 0xfffd || is_bert_control(c.code_point)) continue;
    if (is_white_space(char_class(c.code_point))) {
      clean += ' ';
    } else if (is_bert_ideograph(c.code_point)) {
      clean.append(" ").append(bytes).append(" ");
    } else {
      clean += bytes;
    }
  }
  return clean;
}

// Code points of valid UTF-8.
int64_t char_count(std::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xc0u) != 0x80u; });
}

}  // namespace

Expected<WordPiece> WordPiece::open(const std::filesystem::path& vocab_txt,
                                    std::span<const std::string_view> added) {
  const std::string where = vocab_txt.string();
  if (!std::filesystem::exists(vocab_txt))
    return make_error(ErrorCode::kNotFound,
                      "{}: not there, expected the vocab.txt of bert-base-uncased", where);
  INTAGLIO_ASSIGN(const std::string text, read_file(vocab_txt, kMostFileBytes));
  WordPiece pieces;
  const auto add = [&](std::string_view token) {
    return pieces.ids_.emplace(token, static_cast<int32_t>(pieces.ids_.size())).second;
  };
  for (std::string_view rest = text; !rest.empty();) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view token = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (token.ends_with('\r')) token.remove_suffix(1);
    if (!add(token))
      return make_error(ErrorCode::kBadFormat, "{}: the token \"{}\" comes twice", where,
                        printable(token, 60));
  }
  for (const std::string_view token : added)
    if (add(token)) pieces.special_.add(token, static_cast<size_t>(pieces.ids_.size() - 1));
  for (const std::string_view token : {"[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"})
    if (const auto it = pieces.ids_.find(token); it != pieces.ids_.end())
      pieces.special_.add(token, static_cast<size_t>(it->second));
  for (const auto& [token, id] :
       {std::pair("[UNK]", &pieces.unknown_), std::pair("[CLS]", &pieces.first_),
        std::pair("[SEP]", &pieces.last_)}) {
    const auto it = pieces.ids_.find(token);
    if (it == pieces.ids_.end())
      return make_error(ErrorCode::kBadFormat,
                        "{}: no token \"{}\", expected the vocab.txt of bert-base-uncased", where,
                        token);
    *id = it->second;
  }
  return pieces;
}

// The longest token first, then the longest "##token" of what is left.
void WordPiece::encode_word(std::string_view word, std::vector<int32_t>& ids) const {
  const size_t before = ids.size();
  bool known = char_count(word) <= kMostWordChars;
  for (size_t begin = 0; known && begin < word.size();) {
    std::string token(begin == 0 ? std::string_view() : kInside);
    token += word.substr(begin);
    const size_t prefix = begin == 0 ? 0 : kInside.size();
    auto it = ids_.find(token);
    while (it == ids_.end() && token.size() > prefix) {
      token.pop_back();
      if (token.size() > prefix) it = ids_.find(token);
    }
    known = it != ids_.end();
    if (!known) break;
    ids.push_back(it->second);
    begin += token.size() - prefix;
  }
  if (known) return;
  ids.resize(before);
  ids.push_back(unknown_);
}

void WordPiece::encode_text(std::string_view text, std::vector<int32_t>& ids) const {
  const std::string folded = lower_case(without_accents(cleaned(text)));
  std::string word;
  const auto flush = [&] {
    if (!word.empty()) encode_word(word, ids);
    word.clear();
  };
  for (size_t i = 0; i < folded.size();) {
    const DecodedChar c = decode_utf8(folded, i);
    if (c.length == 0) break;
    const std::string_view bytes = std::string_view(folded).substr(i, c.length);
    i += c.length;
    const bool alone = is_bert_punctuation(c.code_point);
    const bool space = is_white_space(char_class(c.code_point));
    if (alone || space) flush();
    if (!space) word += bytes;
    if (alone) flush();
  }
  flush();
}

Expected<std::vector<int32_t>> WordPiece::encode(std::string_view text, size_t max_tokens) const {
  return encode_framed(
      special_, {.first = first_, .last = last_}, text, max_tokens,
      [this](std::string_view piece, std::vector<int32_t>& ids) { encode_text(piece, ids); });
}

}  // namespace intaglio
