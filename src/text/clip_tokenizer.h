// The tokenizer of CLIP: byte-level BPE whose words end in "</w>", lower case, between a start and
// an end token. From vocab.json and merges.txt, or from the tokenizer.json that holds both.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/status.h"
#include "text/added_tokens.h"

namespace intaglio {

class ClipTokenizer {
 public:
  // Of a model's folder. kNotFound names the files that are looked for, kBadFormat what of them is
  // no vocabulary of bytes.
  static Expected<ClipTokenizer> open(const std::filesystem::path& folder);

  // Start token, text, end token: at most `max_tokens` (2 or more), what of the text is beyond
  // them is cut off. kInvalidArgument for bytes that are not UTF-8.
  Expected<std::vector<int32_t>> encode(std::string_view text, size_t max_tokens) const;

  int32_t start_token() const { return start_; }
  int32_t end_token() const { return end_; }
  int64_t vocab_size() const { return vocab_size_; }  // highest id + 1

 private:
  struct Merge {
    int32_t rank = 0, merged = 0;
  };
  struct Files;

  static Expected<ClipTokenizer> build(const Files& files);
  Status add_bytes(const Files& files);
  void encode_text(std::string_view text, std::vector<int32_t>& ids) const;
  void encode_word(std::string_view word, std::vector<int32_t>& ids) const;

  std::vector<int32_t> byte_ids_;               // [256] inside a word
  std::vector<int32_t> last_byte_ids_;          // [256] at its end
  std::unordered_map<uint64_t, Merge> merges_;  // by left id << 32 | right id
  AddedTokenFinder special_;                    // values are ids
  int32_t start_ = 0, end_ = 0;
  int64_t vocab_size_ = 0;
};

}  // namespace intaglio
