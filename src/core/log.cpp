#include "core/log.h"

#include <cstdlib>
#include <mutex>

namespace intaglio {
namespace {

std::mutex& callback_mutex() {
  static std::mutex mutex;
  return mutex;
}

LogCallback& callback_slot() {
  static LogCallback callback;
  return callback;
}

}  // namespace

void set_log_callback(LogCallback callback) {
  const std::lock_guard lock(callback_mutex());
  callback_slot() = std::move(callback);
}

void log_message(LogLevel level, std::string_view message) {
  const std::lock_guard lock(callback_mutex());
  if (callback_slot()) callback_slot()(level, message);
}

bool trace_enabled(std::string_view topic) {
  const char* value = std::getenv("INTAGLIO_TRACE");
  if (value == nullptr) return false;
  std::string_view rest(value);
  while (!rest.empty()) {
    const size_t comma = rest.find(',');
    if (rest.substr(0, comma) == topic) return true;
    if (comma == std::string_view::npos) break;
    rest.remove_prefix(comma + 1);
  }
  return false;
}

}  // namespace intaglio
