// One line a request, on stderr: never a prompt, a token or a query.
#pragma once

#include <cstdint>
#include <string>

#include "server/http_message.h"

namespace intaglio::cli {

enum class LogFormat { kText, kJson };

// "2026-11-29T14:00:00.123Z 127.0.0.1 GET /api/jobs 200 512 B 1.2 ms", or an object with "time",
// "peer", "method", "path", "status", "bytes" and "ms"; with the newline.
std::string request_line(LogFormat format, const server::Request& request, int status,
                         uint64_t bytes, double seconds, double now);

// "2026-11-29T14:00:00.123Z info WORDS", or an object with "time", "level" and "message".
std::string message_line(LogFormat format, const std::string& level, const std::string& message,
                         double now);

}  // namespace intaglio::cli
