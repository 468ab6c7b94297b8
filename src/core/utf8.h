// UTF-8 as RFC 3629 has it: overlong forms, surrogates and what lies beyond U+10FFFF are none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace intaglio {

struct DecodedUtf8 {
  int32_t code_point = -1;  // -1: no UTF-8
  size_t bytes = 1;
};

// The code point that `text`, not empty, begins with.
DecodedUtf8 decode_utf8(std::string_view text);
bool is_utf8(std::string_view text);

}  // namespace intaglio
