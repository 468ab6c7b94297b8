#include "text/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <vector>

namespace intaglio {
namespace {

// Every code point below this one is its own NFC: the first with a combining class or a
// decomposition that composes differently is U+0300.
constexpr char32_t kFirstComposing = 0x300;

CharClass classify(char32_t c) {
  if (c == '\r' || c == '\n') return CharClass::kNewline;
  if ((c >= 0x9 && c <= 0xd) || c == 0x85) return CharClass::kSpace;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      return CharClass::kLetter;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
      return CharClass::kMark;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
      return CharClass::kNumber;
    // White_Space is the separators, the controls above and nothing else.
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return CharClass::kSpace;
    default:
      return CharClass::kOther;
  }
}

bool needs_no_composition(std::string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    // Lead bytes up to 0xcb start code points below U+0300; continuation bytes are below 0xc0.
    if (static_cast<unsigned char>(text[i]) > 0xcb) return false;
  }
  return true;
}
static_assert(kFirstComposing == ((0xccu - 0xc0u) << 6));

uint8_t combining_class(int32_t c) {
  return static_cast<uint8_t>(utf8proc_get_property(c)->combining_class);
}

}  // namespace

CharClass char_class(char32_t code_point) {
  static const std::array<CharClass, 128> ascii = [] {
    std::array<CharClass, 128> table{};
    for (size_t c = 0; c < table.size(); ++c) table[c] = classify(static_cast<char32_t>(c));
    return table;
  }();
  return code_point < ascii.size() ? ascii[code_point] : classify(code_point);
}

DecodedChar decode_utf8(std::string_view text, size_t offset) {
  if (offset >= text.size()) return {};
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data() + offset);
  if (bytes[0] < 0x80) return {bytes[0], 1};
  const size_t left = std::min<size_t>(text.size() - offset, 4);
  utf8proc_int32_t code_point = 0;
  const auto length = utf8proc_iterate(bytes, static_cast<utf8proc_ssize_t>(left), &code_point);
  if (length <= 0) return {};
  return {static_cast<char32_t>(code_point), static_cast<uint32_t>(length)};
}

void append_utf8(char32_t code_point, std::string& text) {
  std::array<utf8proc_uint8_t, 4> bytes{};
  const auto length = utf8proc_encode_char(static_cast<utf8proc_int32_t>(code_point), bytes.data());
  text.append(reinterpret_cast<const char*>(bytes.data()), static_cast<size_t>(length));
}

std::optional<size_t> find_invalid_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const DecodedChar c = decode_utf8(text, i);
    if (c.length == 0) return i;
    i += c.length;
  }
  return std::nullopt;
}

std::string to_nfc(std::string_view text) {
  if (needs_no_composition(text)) return std::string(text);
  std::vector<utf8proc_int32_t> points;
  points.reserve(text.size());
  int last_boundary = 0;
  for (size_t i = 0; i < text.size();) {
    const DecodedChar c = decode_utf8(text, i);
    if (c.length == 0) break;  // the caller has checked: unreachable
    i += c.length;
    // No canonical decomposition is longer than 4 code points; 32 leaves room.
    std::array<utf8proc_int32_t, 32> parts{};
    const auto count = utf8proc_decompose_char(
        static_cast<utf8proc_int32_t>(c.code_point), parts.data(), parts.size(),
        static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE), &last_boundary);
    if (count > 0) points.insert(points.end(), parts.begin(), parts.begin() + count);
  }
  // Marks after each starter go in the order of their class. utf8proc's own utf8proc_decompose does
  // this in quadratic time, which a prompt of nothing but marks would turn into minutes.
  for (size_t begin = 0; begin < points.size();) {
    if (combining_class(points[begin]) == 0) {
      ++begin;
      continue;
    }
    size_t end = begin + 1;
    while (end < points.size() && combining_class(points[end]) != 0) ++end;
    std::stable_sort(points.begin() + static_cast<ptrdiff_t>(begin),
                     points.begin() + static_cast<ptrdiff_t>(end),
                     [](int32_t a, int32_t b) { return combining_class(a) < combining_class(b); });
    begin = end;
  }
  const auto composed =
      utf8proc_normalize_utf32(points.data(), static_cast<utf8proc_ssize_t>(points.size()),
                               static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  std::string result;
  result.reserve(text.size());
  for (utf8proc_ssize_t i = 0; i < composed; ++i) {
    append_utf8(static_cast<char32_t>(points[static_cast<size_t>(i)]), result);
  }
  return result;
}

}  // namespace intaglio
