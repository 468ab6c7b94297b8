// Names out of untrusted files, made fit for messages and terminals.
#pragma once

#include <string>
#include <string_view>

namespace intaglio {

// `text` escaped (core/escape.h) and cut after `max_bytes` (never inside a UTF-8 character), so
// that no file can move the cursor or flood the screen.
std::string printable(std::string_view text, size_t max_bytes = 200);

}  // namespace intaglio
