// The printable alphabet in which byte-level BPE files write bytes: a printable Latin-1 character
// stands for itself, the other 68 bytes for U+0100 and up in their order.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace intaglio {

// Bytes of a token as a file writes it; nullopt if a character is not in the alphabet. `printable`
// is valid UTF-8.
std::optional<std::string> bytes_from_printable(std::string_view printable);
std::string printable_from_bytes(std::string_view bytes);

}  // namespace intaglio
