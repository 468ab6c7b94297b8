// Reads a tokenizer.json into plain tables. The two large parts, the vocabulary and the merges,
// never become JSON values.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/status.h"
#include "text/split.h"

namespace intaglio {

inline constexpr size_t kMaxTokenizerBytes = size_t{64} << 20;
inline constexpr int kMaxTokenizerDepth = 64;
inline constexpr size_t kMaxAddedTokenBytes = 512;
// Of all added tokens together: each byte costs some fifty in the tables that find them.
inline constexpr size_t kMaxAddedBytes = size_t{4} << 20;
inline constexpr int32_t kMaxTokenId =
    (1 << 22) - 1;  // ids index tables: a wild id must not ask for gigabytes

// Strings one after another in one buffer.
class StringPool {
 public:
  void add(std::string_view text) {
    text_ += text;
    ends_.push_back(static_cast<uint32_t>(text_.size()));
  }
  size_t size() const { return ends_.size(); }
  std::string_view operator[](size_t index) const {
    const uint32_t begin = index == 0 ? 0 : ends_[index - 1];
    return std::string_view(text_).substr(begin, ends_[index] - begin);
  }

 private:
  std::string text_;
  std::vector<uint32_t> ends_;  // a file is below kMaxTokenizerBytes
};

struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool lstrip = false;      // takes the white space before it
  bool rstrip = false;      // takes the white space after it
  bool normalized = false;  // looked for in the normalized text
};

struct TokenizerFile {
  StringPool tokens;         // in the printable alphabet, as written
  std::vector<int32_t> ids;  // of each of `tokens`, in [0, kMaxTokenId]
  StringPool merges;         // entry r: left of rank r at 2r, right at 2r + 1
  std::vector<AddedToken> added;
  SplitPattern split;
  bool nfc = false;
  bool ignore_merges = false;
};

// kBadFormat for a broken file, kUnsupported for a sound one that asks for something else than
// byte-level BPE as above; messages start with `name` and name the key.
Expected<TokenizerFile> read_tokenizer_file(std::string_view json, const std::string& name);

}  // namespace intaglio
