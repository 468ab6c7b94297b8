// A tokenizer.json out of anything. "@BYTES@" in the input stands for the 256 byte tokens that
// every vocabulary needs, so that small inputs reach the code behind them.
#include <string>
#include <string_view>

#include "fuzz/fuzz_check.h"
#include "text/byte_alphabet.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

namespace {

std::string byte_tokens() {
  std::string list;
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    const std::string printable = intaglio::printable_from_bytes({&c, 1});
    if (byte > 0) list += ',';
    list += '"';
    if (c == '"' || c == '\\') list += '\\';
    list += printable + "\":" + std::to_string(byte);
  }
  return list;
}

void encode(const intaglio::Tokenizer& tokenizer, std::string_view text) {
  const auto ids = tokenizer.encode(text);
  FUZZ_CHECK(ids.has_value() != intaglio::find_invalid_utf8(text).has_value());
  if (!ids) return;
  for (const int32_t id : *ids) FUZZ_CHECK(id >= 0 && id < tokenizer.vocab_size());
  FUZZ_CHECK(tokenizer.decode(*ids).has_value());
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::string bytes = byte_tokens();
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  std::string json(input);
  constexpr std::string_view kPlaceholder = "@BYTES@";
  if (const size_t at = json.find(kPlaceholder); at != std::string::npos)
    json.replace(at, kPlaceholder.size(), bytes);
  const auto tokenizer = intaglio::Tokenizer::parse(json, "fuzz.json");
  if (!tokenizer) {
    FUZZ_CHECK(tokenizer.error().message.starts_with("fuzz.json: "));
    FUZZ_CHECK(tokenizer.error().message.size() < 4096);
    return 0;
  }
  encode(*tokenizer, "a <|im_start|>user\nhello, we'LL e\u0301 12345 \u65e5\u672c <|im_end|>\n ");
  encode(*tokenizer, input);
  return 0;
}
