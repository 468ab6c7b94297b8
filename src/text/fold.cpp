#include "text/fold.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <vector>

#include "text/unicode.h"

namespace intaglio {
namespace {

constexpr char32_t kCapitalIWithDot = 0x130;  // the one whose lower case is two code points

utf8proc_category_t category(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

// No canonical decomposition is longer than 4 code points.
using Parts = std::array<utf8proc_int32_t, 32>;

size_t decompose(char32_t c, Parts& parts) {
  int last_boundary = 0;
  const auto count = utf8proc_decompose_char(
      static_cast<utf8proc_int32_t>(c), parts.data(), parts.size(),
      static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE), &last_boundary);
  return count > 0 ? static_cast<size_t>(count) : 0;
}

}  // namespace

std::string lower_case(std::string_view text) {
  std::string lower;
  lower.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const DecodedChar c = decode_utf8(text, i);
    if (c.length == 0) break;
    i += c.length;
    if (c.code_point == kCapitalIWithDot) {
      lower += "i\u0307";
    } else {
      append_utf8(
          static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c.code_point))),
          lower);
    }
  }
  return lower;
}

// Marks that stay (Mc, Me) keep the order they come in: no vocabulary tells two orders apart.
std::string without_accents(std::string_view text) {
  std::string plain;
  plain.reserve(text.size());
  Parts parts{};
  for (size_t i = 0; i < text.size();) {
    const DecodedChar c = decode_utf8(text, i);
    if (c.length == 0) break;
    i += c.length;
    const size_t count = decompose(c.code_point, parts);
    for (size_t j = 0; j < count; ++j) {
      const auto part = static_cast<char32_t>(parts[j]);
      if (category(part) != UTF8PROC_CATEGORY_MN) append_utf8(part, plain);
    }
  }
  return plain;
}

bool is_bert_control(char32_t c) {
  if (c == '\t' || c == '\n' || c == '\r') return false;
  switch (category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CS:
      return true;
    default:
      return false;
  }
}

bool is_bert_punctuation(char32_t c) {
  if ((c >= 0x21 && c <= 0x2f) || (c >= 0x3a && c <= 0x40) || (c >= 0x5b && c <= 0x60) ||
      (c >= 0x7b && c <= 0x7e))
    return true;
  switch (category(c)) {
    case UTF8PROC_CATEGORY_PC:
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO:
      return true;
    default:
      return false;
  }
}

bool is_bert_ideograph(char32_t c) {
  struct Block {
    char32_t first, last;
  };
  static constexpr std::array<Block, 8> kBlocks{{{0x4e00, 0x9fff},
                                                 {0x3400, 0x4dbf},
                                                 {0x20000, 0x2a6df},
                                                 {0x2a700, 0x2b73f},
                                                 {0x2b740, 0x2b81f},
                                                 {0x2b820, 0x2ceaf},
                                                 {0xf900, 0xfaff},
                                                 {0x2f800, 0x2fa1f}}};
  return std::any_of(kBlocks.begin(), kBlocks.end(),
                     [c](const Block& block) { return c >= block.first && c <= block.last; });
}

}  // namespace intaglio
