#include "io/printable.h"

#include "core/escape.h"

namespace intaglio {

std::string printable(std::string_view text, size_t max_bytes) {
  if (text.size() <= max_bytes) return escaped(text);
  size_t end = max_bytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0u) == 0x80u) --end;
  return escaped(text.substr(0, end)) + "...";
}

}  // namespace intaglio
