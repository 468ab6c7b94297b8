// Prompts of any bytes through a fixed small tokenizer and through every split pattern.
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "fuzz/fuzz_check.h"
#include "models/qwen3/chat.h"
#include "text/quoted_text.h"
#include "text/split.h"
#include "text/tokenizer.h"
#include "text/unicode.h"
#include "unit/text/tiny_tokenizer.h"

namespace {

constexpr int32_t kFirstAdded = 1000;

intaglio::Tokenizer make_tokenizer() {
  nlohmann::json json = intaglio::test::tiny_tokenizer({{"t", "h"},
                                                        {"th", "e"},
                                                        {"\u0120", "the"},
                                                        {"a", "a"},
                                                        {"aa", "aa"},
                                                        {"\u00cc", "\u0123"},
                                                        {"e", "l"},
                                                        {"l", "l"}});
  json["added_tokens"] = {intaglio::test::added_token(kFirstAdded, "<|im_start|>"),
                          intaglio::test::added_token(kFirstAdded + 1, "<|im_end|>"),
                          intaglio::test::added_token(kFirstAdded + 2, "<|im"),
                          intaglio::test::added_token(kFirstAdded + 3, "#"),
                          intaglio::test::added_token(kFirstAdded + 4, "\u00e9\u00e9")};
  json["added_tokens"][2]["lstrip"] = true;
  json["added_tokens"][3]["rstrip"] = true;
  json["added_tokens"][4]["normalized"] = true;
  auto tokenizer = intaglio::Tokenizer::parse(json.dump(), "fixed");
  FUZZ_CHECK(tokenizer.has_value());
  return std::move(*tokenizer);
}

void check_tiles(const intaglio::SplitPattern& pattern, std::string_view text) {
  for (size_t offset = 0; offset < text.size();) {
    const size_t length = intaglio::next_word_length(pattern, text, offset);
    FUZZ_CHECK(length > 0 && length <= text.size() - offset);
    offset += length;
    FUZZ_CHECK(offset == text.size() ||
               (static_cast<unsigned char>(text[offset]) & 0xc0u) != 0x80u);
  }
}

void check_quotes(std::string_view text) {
  size_t done = 0;
  for (const intaglio::TextSpan& span : intaglio::quoted_text(text)) {
    FUZZ_CHECK(span.begin >= done && span.end >= span.begin && span.end <= text.size());
    done = span.end;
  }
  FUZZ_CHECK(intaglio::capitals_in_quotes(text).size() == text.size());
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const intaglio::Tokenizer tokenizer = make_tokenizer();
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  check_quotes(text);
  const bool valid = !intaglio::find_invalid_utf8(text).has_value();
  const auto ids = tokenizer.encode(text);
  FUZZ_CHECK(ids.has_value() == valid);
  const auto prompt = intaglio::qwen3::tokenize_prompt(tokenizer, {}, text);
  FUZZ_CHECK(!prompt || prompt->size() <= static_cast<size_t>(intaglio::qwen3::kMaxPromptTokens));
  if (!valid) {
    FUZZ_CHECK(!prompt);
    return 0;
  }
  const auto decoded = tokenizer.decode(*ids);
  FUZZ_CHECK(decoded.has_value() && !intaglio::find_invalid_utf8(*decoded));
  bool has_added = false;
  for (const int32_t id : *ids) has_added = has_added || id >= kFirstAdded;
  // Added tokens cut the text before it is normalized, and may take spaces away.
  if (!has_added) FUZZ_CHECK(*decoded == intaglio::to_nfc(text));
  for (const uint32_t digits : {1u, 3u}) {
    for (const bool marks : {false, true})
      check_tiles({.max_digits = digits, .marks_in_words = marks}, text);
  }
  return 0;
}
