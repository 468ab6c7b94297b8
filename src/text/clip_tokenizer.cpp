#include "text/clip_tokenizer.h"

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "core/files.h"
#include "io/json_config.h"
#include "io/printable.h"
#include "text/byte_alphabet.h"
#include "text/fold.h"
#include "text/framed_text.h"
#include "text/unicode.h"

namespace intaglio {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr size_t kMostFileBytes = size_t{64} << 20;
constexpr std::string_view kWordEnd = "</w>";
constexpr std::string_view kStart = "<|startoftext|>", kEnd = "<|endoftext|>";
constexpr int32_t kMostId = (1 << 22) - 1;

uint64_t pair_of(int32_t left, int32_t right) {
  return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) | static_cast<uint32_t>(right);
}

// Length of 's, 't, 're, 've, 'm, 'll, 'd at the front of a lower-case text; 0: none of them.
size_t contraction_length(std::string_view text) {
  static constexpr std::array<std::string_view, 7> kContractions{"'s", "'t",  "'re", "'ve",
                                                                 "'m", "'ll", "'d"};
  for (const std::string_view one : kContractions)
    if (text.starts_with(one)) return one.size();
  return 0;
}

enum class Kind { kLetter, kNumber, kSpace, kSymbol };

Kind kind_of(char32_t c) {
  const CharClass found = char_class(c);
  if (found == CharClass::kLetter) return Kind::kLetter;
  if (found == CharClass::kNumber) return Kind::kNumber;
  return is_white_space(found) ? Kind::kSpace : Kind::kSymbol;
}

// Bytes of the word at the front of `text`, which is not empty: a contraction, a run of letters,
// one number, a run of anything else that is not white space; or one white space, which is no word.
size_t word_length(std::string_view text) {
  for (const std::string_view special : {kStart, kEnd})
    if (text.starts_with(special)) return special.size();
  if (const size_t length = contraction_length(text); length > 0) return length;
  const DecodedChar first = decode_utf8(text, 0);
  const Kind kind = kind_of(first.code_point);
  size_t length = std::max<size_t>(first.length, 1);
  if (kind == Kind::kNumber || kind == Kind::kSpace) return length;
  while (length < text.size()) {
    const DecodedChar next = decode_utf8(text, length);
    if (next.length == 0 || kind_of(next.code_point) != kind) break;
    length += next.length;
  }
  return length;
}

}  // namespace

// What the files say, whichever they are.
struct ClipTokenizer::Files {
  std::string where;  // of messages
  std::map<std::string, int32_t, std::less<>> ids;
  std::vector<std::pair<std::string, std::string>> merges;

  std::optional<int32_t> find(std::string_view token) const {
    const auto it = ids.find(token);
    return it == ids.end() ? std::nullopt : std::optional<int32_t>(it->second);
  }

  Status add_vocabulary(const json& vocabulary, const std::string& name) {
    if (!vocabulary.is_object())
      return make_error(ErrorCode::kBadFormat, "{}: found no object of tokens and their ids", name);
    for (const auto& [token, id] : vocabulary.items()) {
      if (!id.is_number_unsigned() || id.get<uint64_t>() > static_cast<uint64_t>(kMostId))
        return make_error(ErrorCode::kBadFormat,
                          "{}: the id of \"{}\" is {}, expected a number from 0 to {}", name,
                          printable(token, 60), printable(id.dump(), 60), kMostId);
      ids.emplace(token, id.get<int32_t>());
    }
    return {};
  }

  // "left right".
  Status add_merge(std::string_view line, const std::string& name) {
    const size_t space = line.find(' ');
    if (space == std::string_view::npos || space == 0 || space + 1 == line.size())
      return make_error(ErrorCode::kBadFormat, "{}: the merge \"{}\", expected two tokens", name,
                        printable(line, 60));
    merges.emplace_back(line.substr(0, space), line.substr(space + 1));
    return {};
  }

  Status add_merge_lines(std::string_view text, const std::string& name) {
    while (!text.empty()) {
      const size_t end = std::min(text.find('\n'), text.size());
      std::string_view line = text.substr(0, end);
      text.remove_prefix(std::min(end + 1, text.size()));
      if (line.ends_with('\r')) line.remove_suffix(1);
      if (line.empty() || line.starts_with("#version")) continue;
      INTAGLIO_TRY(add_merge(line, name));
    }
    return {};
  }

  Status add_merge_list(const json& list, const std::string& name) {
    if (!list.is_array())
      return make_error(ErrorCode::kBadFormat, "{}: found no list of merges", name);
    for (const json& one : list) {
      const bool pair =
          one.is_array() && one.size() == 2 && one[0].is_string() && one[1].is_string();
      if (pair) {
        merges.emplace_back(one[0].get<std::string>(), one[1].get<std::string>());
      } else if (one.is_string()) {
        INTAGLIO_TRY(add_merge(one.get<std::string>(), name));
      } else {
        return make_error(ErrorCode::kBadFormat, "{}: the merge {}, expected two tokens", name,
                          printable(one.dump(), 60));
      }
    }
    return {};
  }

  Status read_two(const fs::path& vocabulary, const fs::path& merge_lines) {
    where = vocabulary.string();
    INTAGLIO_ASSIGN(const std::string text, read_file(vocabulary, kMostFileBytes));
    INTAGLIO_ASSIGN(const json tokens, parse_json(text, where));
    INTAGLIO_TRY(add_vocabulary(tokens, where));
    INTAGLIO_ASSIGN(const std::string lines, read_file(merge_lines, kMostFileBytes));
    return add_merge_lines(lines, merge_lines.string());
  }

  Status read_one(const fs::path& file) {
    where = file.string();
    INTAGLIO_ASSIGN(const std::string text, read_file(file, kMostFileBytes));
    INTAGLIO_ASSIGN(const json all, parse_json(text, where));
    const auto found = all.is_object() ? all.find("model") : all.end();
    if (found == all.end() || !found->is_object())
      return make_error(ErrorCode::kBadFormat, "{}: no object under \"model\"", where);
    const json& model = *found;
    INTAGLIO_TRY(add_vocabulary(model.value("vocab", json()), where + ": model.vocab"));
    return add_merge_list(model.value("merges", json()), where + ": model.merges");
  }
};

Expected<ClipTokenizer> ClipTokenizer::open(const fs::path& folder) {
  const fs::path vocabulary = folder / "vocab.json", merges = folder / "merges.txt",
                 one = folder / "tokenizer.json";
  Files files;
  if (fs::exists(vocabulary) && fs::exists(merges)) {
    INTAGLIO_TRY(files.read_two(vocabulary, merges));
  } else if (fs::exists(one)) {
    INTAGLIO_TRY(files.read_one(one));
  } else {
    return make_error(ErrorCode::kNotFound,
                      "{}: no tokenizer there, expected vocab.json and merges.txt, or "
                      "tokenizer.json; every CLIP of 49408 tokens has the same ones",
                      folder.string());
  }
  return build(files);
}

Expected<ClipTokenizer> ClipTokenizer::build(const Files& files) {
  ClipTokenizer tokenizer;
  for (const auto& [token, id] : files.ids)
    tokenizer.vocab_size_ = std::max(tokenizer.vocab_size_, int64_t{id} + 1);
  for (const auto& [token, target] :
       {std::pair(kStart, &tokenizer.start_), std::pair(kEnd, &tokenizer.end_)}) {
    const std::optional<int32_t> id = files.find(token);
    if (!id)
      return make_error(ErrorCode::kBadFormat, "{}: no token \"{}\", expected CLIP's vocabulary",
                        files.where, token);
    *target = *id;
    tokenizer.special_.add(token, static_cast<size_t>(*id));
  }
  INTAGLIO_TRY(tokenizer.add_bytes(files));
  for (const auto& [left, right] : files.merges) {
    const std::optional<int32_t> a = files.find(left), b = files.find(right);
    const std::optional<int32_t> both = files.find(left + right);
    if (!a || !b || !both)
      return make_error(ErrorCode::kBadFormat,
                        "{}: the merge \"{} {}\" needs tokens that are not in the vocabulary",
                        files.where, printable(left, 60), printable(right, 60));
    const auto rank = static_cast<int32_t>(tokenizer.merges_.size());
    tokenizer.merges_.emplace(pair_of(*a, *b), Merge{rank, *both});
  }
  return tokenizer;
}

Status ClipTokenizer::add_bytes(const Files& files) {
  for (int byte = 0; byte < 256; ++byte) {
    const auto c = static_cast<char>(byte);
    const std::string token = printable_from_bytes(std::string_view(&c, 1));
    const std::optional<int32_t> inside = files.find(token);
    const std::optional<int32_t> last = files.find(token + std::string(kWordEnd));
    if (!inside || !last)
      return make_error(ErrorCode::kBadFormat,
                        "{}: no token for the byte 0x{:02x}, inside a word or at its end, expected "
                        "CLIP's vocabulary",
                        files.where, byte);
    byte_ids_.push_back(*inside);
    last_byte_ids_.push_back(*last);
  }
  return {};
}

void ClipTokenizer::encode_word(std::string_view word, std::vector<int32_t>& ids) const {
  std::vector<int32_t> symbols;
  for (const char c : word) symbols.push_back(byte_ids_[static_cast<unsigned char>(c)]);
  symbols.back() = last_byte_ids_[static_cast<unsigned char>(word.back())];
  while (symbols.size() > 1) {
    Merge best{std::numeric_limits<int32_t>::max(), 0};
    uint64_t pair = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const auto it = merges_.find(pair_of(symbols[i], symbols[i + 1]));
      if (it == merges_.end() || it->second.rank >= best.rank) continue;
      best = it->second;
      pair = it->first;
    }
    if (best.rank == std::numeric_limits<int32_t>::max()) break;
    size_t kept = 0;
    for (size_t i = 0; i < symbols.size(); ++kept) {
      const bool merges = i + 1 < symbols.size() && pair_of(symbols[i], symbols[i + 1]) == pair;
      symbols[kept] = merges ? best.merged : symbols[i];
      i += merges ? 2 : 1;
    }
    symbols.resize(kept);
  }
  ids.insert(ids.end(), symbols.begin(), symbols.end());
}

void ClipTokenizer::encode_text(std::string_view text, std::vector<int32_t>& ids) const {
  const std::string lower = lower_case(to_nfc(text));
  for (std::string_view rest = lower; !rest.empty();) {
    const size_t length = word_length(rest);
    const bool space = kind_of(decode_utf8(rest, 0).code_point) == Kind::kSpace;
    if (!space) encode_word(rest.substr(0, length), ids);
    rest.remove_prefix(length);
  }
}

Expected<std::vector<int32_t>> ClipTokenizer::encode(std::string_view text,
                                                     size_t max_tokens) const {
  return encode_framed(
      special_, {.first = start_, .last = end_}, text, max_tokens,
      [this](std::string_view piece, std::vector<int32_t>& ids) { encode_text(piece, ids); });
}

}  // namespace intaglio
