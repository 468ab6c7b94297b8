#include "core/escape.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "core/utf8.h"

namespace intaglio {
namespace {

struct Range {
  int32_t first, last;
};
// Unicode's categories Cc, Cf, Zl and Zp but the two joiners, in order; its database says which
// (15.1).
constexpr std::array<Range, 24> kEscaped = {
    {{0x00, 0x1f},       {0x7f, 0x9f},       {0xad, 0xad},       {0x600, 0x605},
     {0x61c, 0x61c},     {0x6dd, 0x6dd},     {0x70f, 0x70f},     {0x890, 0x891},
     {0x8e2, 0x8e2},     {0x180e, 0x180e},   {0x200b, 0x200b},   {0x200e, 0x200f},
     {0x2028, 0x202e},   {0x2060, 0x2064},   {0x2066, 0x206f},   {0xfeff, 0xfeff},
     {0xfff9, 0xfffb},   {0x110bd, 0x110bd}, {0x110cd, 0x110cd}, {0x13430, 0x1343f},
     {0x1bca0, 0x1bca3}, {0x1d173, 0x1d17a}, {0xe0001, 0xe0001}, {0xe0020, 0xe007f}}};

// A line break, two spaces or more, and nothing that looks like the begin of another message.
bool begins_indented_line(std::string_view text) {
  if (!text.starts_with("\n  ")) return false;
  text.remove_prefix(std::min(text.find_first_not_of(' ', 1), text.size()));
  return !text.starts_with("error:") && !text.starts_with("warning:");
}

}  // namespace

bool is_escaped(int32_t code_point) {
  const auto range = std::lower_bound(kEscaped.begin(), kEscaped.end(), code_point,
                                      [](const Range& r, int32_t c) { return r.last < c; });
  return range != kEscaped.end() && range->first <= code_point;
}

std::string escaped(std::string_view text, LineBreaks line_breaks) {
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) {
    const DecodedUtf8 decoded = decode_utf8(text);
    const std::string_view bytes = text.substr(0, decoded.bytes);
    const bool own_break = line_breaks == LineBreaks::kIndented && begins_indented_line(text);
    if (decoded.code_point >= 0 && (own_break || !is_escaped(decoded.code_point))) {
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
