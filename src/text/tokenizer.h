// Byte-level BPE from a Hugging Face tokenizer.json: added tokens, NFC, the split pattern, bytes to
// the printable alphabet, merges by rank.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"

namespace intaglio {

// The longest text encode takes; it needs up to 30 times as much memory to work.
inline constexpr size_t kMaxTextBytes = size_t{16} << 20;

class Tokenizer {
 public:
  static Expected<Tokenizer> open(const std::filesystem::path& tokenizer_json);
  static Expected<Tokenizer> parse(std::string_view json, const std::string& name);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  // UTF-8 text to ids; added tokens are recognised, none is added. kInvalidArgument for bytes that
  // are not UTF-8 (names the offset).
  Expected<std::vector<int32_t>> encode(std::string_view text) const;
  // Bytes of the tokens, concatenated (added tokens as their content); unknown ids are an error.
  Expected<std::string> decode(const std::vector<int32_t>& ids) const;
  int64_t vocab_size() const;  // highest id + 1

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace intaglio
