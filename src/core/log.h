// Messages of the library. The library prints nothing: the application installs a callback.
#pragma once

#include <fmt/format.h>

#include <functional>
#include <string_view>
#include <utility>

#include "core/escape.h"

namespace intaglio {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

using LogCallback = std::function<void(LogLevel, std::string_view message)>;

// Replaces the callback; an empty one silences the library (the default). Thread-safe.
void set_log_callback(LogCallback callback);
void log_message(LogLevel level, std::string_view message);

// Texts among `args` are escaped, as make_error does.
template <typename... Args>
void log(LogLevel level, fmt::format_string<Args...> format, Args&&... args) {
  log_message(level, message_of(format, std::forward<Args>(args)...));
}

// True if INTAGLIO_TRACE names `topic` (a comma-separated list, e.g. "dispatch").
bool trace_enabled(std::string_view topic);

}  // namespace intaglio
