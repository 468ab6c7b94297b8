#include "core/escape.h"

#include <utf8proc.h>

#include <algorithm>

namespace intaglio {

bool is_escaped(int32_t code_point) {
  constexpr int32_t kNonJoiner = 0x200c, kJoiner = 0x200d;
  switch (utf8proc_category(code_point)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return true;
    case UTF8PROC_CATEGORY_CF:
      return code_point != kNonJoiner && code_point != kJoiner;
    default:
      return false;
  }
}

namespace {

// A line break, two spaces or more, and nothing that looks like the begin of another message.
bool begins_indented_line(std::string_view text) {
  if (!text.starts_with("\n  ")) return false;
  text.remove_prefix(std::min(text.find_first_not_of(' ', 1), text.size()));
  return !text.starts_with("error:") && !text.starts_with("warning:");
}

}  // namespace

std::string escaped(std::string_view text, LineBreaks line_breaks) {
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) {
    utf8proc_int32_t code_point = -1;
    const utf8proc_ssize_t read =
        utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                         static_cast<utf8proc_ssize_t>(text.size()), &code_point);
    const std::string_view bytes = text.substr(0, read > 0 ? static_cast<size_t>(read) : 1);
    const bool own_break = line_breaks == LineBreaks::kIndented && begins_indented_line(text);
    if (read > 0 && (own_break || !is_escaped(code_point))) {
      result += bytes;
    } else {
      for (const char byte : bytes)
        result += fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
    }
    text.remove_prefix(bytes.size());
  }
  return result;
}

}  // namespace intaglio
