// Byte-pair encoding of one word over raw bytes: merges in the order of their rank, leftmost first
// among equals.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "text/tokenizer_json.h"

namespace intaglio {

// Working memory of encode_word, reused from word to word.
struct BpeScratch {
  struct Symbol {
    int32_t id = 0;
    int32_t previous = -1;  // index of the neighbour, -1 if none
    int32_t next = -1;
    uint32_t rank = 0;   // of the merge with `next`; kNoMerge if there is none
    int32_t merged = 0;  // the id it gives
  };
  std::vector<Symbol> symbols;
  std::vector<uint64_t> heap;  // rank << 32 | index of the left symbol, smallest first
  int64_t steps = 0;           // heap entries taken so far, for tests of the cost
};

class BpeModel {
 public:
  // Errors (kBadFormat, starting with `name`): a token or id that comes twice, a byte without a
  // token, a merge of tokens that are not in the vocabulary or not in the byte alphabet.
  static Expected<BpeModel> build(const TokenizerFile& file, const std::string& name);

  // Appends the ids of a word of less than 2^31 bytes.
  void encode_word(std::string_view word, BpeScratch& scratch, std::vector<int32_t>& ids) const;

  std::optional<std::string_view> token_bytes(int32_t id) const;  // nullopt: no such id
  std::string token_as_written(int32_t id) const;                 // of an id that exists
  std::optional<int32_t> find(std::string_view bytes) const;      // of tokens in the byte alphabet
  int64_t id_count() const { return static_cast<int64_t>(tokens_.size()); }  // highest id + 1

 private:
  struct Token {
    uint32_t offset = 0;
    uint32_t length : 30 = 0;
    uint32_t present : 1 = 0;
    uint32_t verbatim : 1 = 0;  // not in the byte alphabet: stored as written, never made from text
  };
  struct Merge {
    uint64_t pair = kEmptyPair;  // left id << 32 | right id
    uint32_t rank = kNoMerge;
    int32_t merged = 0;
  };
  static constexpr uint64_t kEmptyPair = ~uint64_t{0};
  static constexpr uint32_t kNoMerge = ~uint32_t{0};
  static constexpr int32_t kNoToken = -1;

  Status add_tokens(const TokenizerFile& file, const std::string& name);
  Status add_merges(const TokenizerFile& file, const std::string& name);
  std::string_view bytes_of(const Token& token) const {
    return std::string_view(bytes_).substr(token.offset, token.length);
  }
  size_t token_slot(std::string_view bytes) const;
  size_t merge_slot(uint64_t pair) const;
  void look_up_merge(BpeScratch& scratch, int32_t index) const;

  std::string bytes_;                 // of all tokens
  std::vector<Token> tokens_;         // by id
  std::vector<int32_t> token_table_;  // open addressing by bytes, a power of two, at most half full
  std::vector<Merge> merge_table_;    // open addressing by pair, likewise
  std::array<int32_t, 256> byte_ids_{};
  bool ignore_merges_ = false;
};

}  // namespace intaglio
