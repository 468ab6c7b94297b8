#include "text/byte_alphabet.h"

#include <array>
#include <cstdint>

#include "text/unicode.h"

namespace intaglio {
namespace {

constexpr size_t kAlphabetEnd = 256 + 68;
constexpr int16_t kNone = -1;

constexpr bool stands_for_itself(int byte) {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

struct Alphabet {
  std::array<uint16_t, 256> char_of_byte{};
  std::array<int16_t, kAlphabetEnd> byte_of_char{};
};

constexpr Alphabet make_alphabet() {
  Alphabet alphabet;
  for (int16_t& byte : alphabet.byte_of_char) byte = kNone;
  uint16_t next = 256;
  for (int byte = 0; byte < 256; ++byte) {
    const uint16_t c = stands_for_itself(byte) ? static_cast<uint16_t>(byte) : next++;
    alphabet.char_of_byte[static_cast<size_t>(byte)] = c;
    alphabet.byte_of_char[c] = static_cast<int16_t>(byte);
  }
  return alphabet;
}

constexpr Alphabet kAlphabet = make_alphabet();
static_assert(kAlphabet.char_of_byte[0xad] == kAlphabetEnd - 1);

}  // namespace

std::optional<std::string> bytes_from_printable(std::string_view printable) {
  std::string bytes;
  bytes.reserve(printable.size());
  for (size_t i = 0; i < printable.size();) {
    const DecodedChar c = decode_utf8(printable, i);
    if (c.length == 0 || c.code_point >= kAlphabetEnd) return std::nullopt;
    const int16_t byte = kAlphabet.byte_of_char[c.code_point];
    if (byte == kNone) return std::nullopt;
    bytes += static_cast<char>(byte);
    i += c.length;
  }
  return bytes;
}

std::string printable_from_bytes(std::string_view bytes) {
  std::string printable;
  for (const char byte : bytes)
    append_utf8(kAlphabet.char_of_byte[static_cast<unsigned char>(byte)], printable);
  return printable;
}

}  // namespace intaglio
