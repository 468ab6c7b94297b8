// The tokenizer of BERT without capitals: words cut into the longest pieces of a vocabulary, from
// vocab.txt (a token a line).
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "text/added_tokens.h"

namespace intaglio {

class WordPiece {
 public:
  // `added`: special tokens beyond the file, with the ids that follow its own. kNotFound, kIo;
  // kBadFormat without [UNK], [CLS] and [SEP], or with a token twice.
  static Expected<WordPiece> open(const std::filesystem::path& vocab_txt,
                                  std::span<const std::string_view> added = {});

  // [CLS], text, [SEP]: at most `max_tokens` (2 or more), what of the text is beyond them is cut
  // off. kInvalidArgument for bytes that are not UTF-8.
  Expected<std::vector<int32_t>> encode(std::string_view text, size_t max_tokens) const;

  int64_t vocab_size() const { return static_cast<int64_t>(ids_.size()); }  // with those added

 private:
  void encode_text(std::string_view text, std::vector<int32_t>& ids) const;
  void encode_word(std::string_view word, std::vector<int32_t>& ids) const;

  std::map<std::string, int32_t, std::less<>> ids_;
  AddedTokenFinder special_;  // values are ids
  int32_t unknown_ = 0, first_ = 0, last_ = 0;
};

}  // namespace intaglio
