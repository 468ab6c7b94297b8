#include "io/printable.h"

#include <fmt/format.h>

namespace intaglio {

std::string printable(std::string_view text, size_t max_bytes) {
  bool cut = false;
  if (text.size() > max_bytes) {
    size_t end = max_bytes;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0u) == 0x80u) --end;
    text = text.substr(0, end);
    cut = true;
  }
  std::string result;
  result.reserve(text.size() + 3);
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    // C1 controls (U+0080..U+009F) are two bytes in UTF-8 and some terminals obey them.
    const bool c1 =
        byte == 0xc2u && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0u;
    if (byte < 0x20u || byte == 0x7fu || c1) {
      result += fmt::format("\\x{:02x}", byte);
      if (c1) result += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[++i]));
    } else {
      result += text[i];
    }
  }
  if (cut) result += "...";
  return result;
}

}  // namespace intaglio
