// Bytes as text, RFC 4648.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace intaglio {

std::string base64(std::string_view bytes);
// With or without its padding and "data:image/png;base64," in front; nullopt: no base64.
std::optional<std::string> decoded_base64(std::string_view text);

}  // namespace intaglio
